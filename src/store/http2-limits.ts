// What both sides of a connection of HTTP/2 allow each other.

/** What one side may send before the other has read it, in bytes: of a stream, and of a connection. */
export const STREAM_WINDOW = 4 * 1024 * 1024
export const SESSION_WINDOW = 16 * 1024 * 1024
/** Longest frame of HTTP/2 that is taken, in bytes: fewer of them are fewer calls from Node's C++ into JavaScript. */
export const MAX_FRAME_SIZE = 1024 * 1024
/** Megabytes that Node lets a session have; its default of 10 is less than the windows. */
export const SESSION_MEMORY = 256
