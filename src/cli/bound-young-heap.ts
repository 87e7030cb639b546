import { setFlagsFromString } from 'node:v8'

/**
 * Keeps V8 from letting the space of young objects grow, for verbs whose objects are few and whose bytes lie outside of the heap.
 * Otherwise the peak of a long run creeps up: unpacking 5 GB was measured to need 167 MB instead of 104, in the same time.
 */
export function boundYoungHeap(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
}
