// The peers are installed by `npm run bench` only, and what they take and give is theirs.
declare module 'JSONStream'
declare module 'split2'
declare module 'json-stream-stringify'
declare module '@streamparser/json-node'
declare module 'kafkajs'
declare module '@faker-js/faker'
declare module 'classic-level'
