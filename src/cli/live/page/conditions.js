// The part of the form where conditions are put together, as the texts that the server takes.

const NAMES = {
  eq: '=',
  ne: '≠',
  gt: '>',
  gte: '≥',
  lt: '<',
  lte: '≤',
  in: 'one of',
  notIn: 'none of',
  between: 'between',
  like: 'like',
  isNull: 'is empty',
  notNull: 'not empty',
}
const HINTS = { in: 'a, b, c', notIn: 'a, b, c', between: 'from, to', like: 'A%' }

/** A value as it stands behind an operator, whatever is in it. */
const quoted = (text) => (text.includes('"') ? `'${text}'` : `"${text}"`)

export class ConditionList {
  #list
  #columns
  #onChange
  #made = 0

  /** @param {HTMLElement} list @param {object[]} columns @param {() => void} onChange */
  constructor(list, columns, onChange) {
    this.#list = list
    this.#columns = columns.filter(({ operators }) => operators.length > 0)
    this.#onChange = onChange
  }

  add() {
    const row = document.createElement('li')
    const column = select(
      'column',
      this.#columns.map(({ name }) => [name, name]),
    )
    const operator = select('operator', [])
    const value = document.createElement('input')
    value.className = 'value'
    value.required = true
    value.setAttribute('aria-label', 'value')
    const values = document.createElement('datalist')
    values.id = `values-${++this.#made}`
    value.setAttribute('list', values.id)
    const remove = document.createElement('button')
    remove.type = 'button'
    remove.textContent = '×'
    remove.setAttribute('aria-label', 'remove this condition')
    const columnChanged = () => {
      const { operators, bars } = this.#columns.find(({ name }) => name === column.value)
      operator.replaceChildren(...options(operators.map((name) => [name, NAMES[name]])))
      values.replaceChildren(...options((bars?.values ?? []).map((text) => [text, ''])))
      value.value = ''
      operatorChanged()
    }
    const operatorChanged = () => {
      const isAlone = operator.value === 'isNull' || operator.value === 'notNull'
      value.hidden = value.disabled = isAlone
      value.placeholder = HINTS[operator.value] ?? ''
      this.#onChange()
    }
    column.addEventListener('change', columnChanged)
    operator.addEventListener('change', operatorChanged)
    value.addEventListener('change', () => this.#onChange())
    remove.addEventListener('click', () => {
      row.remove()
      this.#onChange()
    })
    row.append(column, operator, value, values, remove)
    this.#list.append(row)
    columnChanged()
    column.focus()
  }

  /** The conditions; those without a value are not there yet. */
  texts() {
    return [...this.#list.children].flatMap((row) => {
      const [column, operator, value] = row.children
      if (value.disabled) return [`${column.value} ${operator.value}`]
      const text = value.value.trim()
      if (text === '') return []
      const isList = ['in', 'notIn', 'between'].includes(operator.value)
      return [`${column.value} ${operator.value} ${isList ? text : quoted(text)}`]
    })
  }
}

function select(label, entries) {
  const made = document.createElement('select')
  made.setAttribute('aria-label', label)
  made.append(...options(entries))
  return made
}

function options(entries) {
  return entries.map(([value, text]) => new Option(text || String(value), value))
}
