/** @param {number[]} items */
export default (items) =>
  items.map((n) => {
    if (n < 0) throw new Error('negative')
    return n * 2
  })
