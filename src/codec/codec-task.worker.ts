import { runCodecTask } from './codec-task.ts'

export default runCodecTask
