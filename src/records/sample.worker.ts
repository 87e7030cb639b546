import { sampleTask } from './sample-task.ts'

export default sampleTask
