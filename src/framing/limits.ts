/** Bytes of a block of frames, unless an option says otherwise: 64 KiB, where parsing is fastest for its memory. */
export const DEFAULT_BOUNDARY_BLOCK_SIZE = 64 * 1024

/** Most bytes of one frame, unless an option says otherwise: 64 MiB. */
export const DEFAULT_MAX_FRAME_LENGTH = 64 * 1024 * 1024
