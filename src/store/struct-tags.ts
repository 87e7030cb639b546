// Tags of google.protobuf.Struct: the number of the field, and how it is written: 0 varint, 1 eight bytes, 2 length-delimited.
export const FIELDS = 0x0a
export const KEY = 0x0a
export const VALUE = 0x12
export const VALUES = 0x0a
export const NULL = 0x08
export const NUMBER = 0x11
export const STRING = 0x1a
export const BOOL = 0x20
export const STRUCT = 0x2a
export const LIST = 0x32
