/* The calls of CUDA's runtime that torch makes on its own account, for one device on which nothing ever runs. */
typedef int Status;
typedef void *Handle;

static int nothing;

Status cudaGetDeviceCount(int *count) { *count = 1; return 0; }
Status cudaGetDevice(int *device) { *device = 0; return 0; }
Status cudaSetDevice(int device) { return 0; }
Status cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
Status cudaGetLastError(void) { return 0; }
Status cudaPeekAtLastError(void) { return 0; }
Status cudaDeviceSynchronize(void) { return 0; }
Status cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = -1;
  return 0;
}
Status cudaThreadExchangeStreamCaptureMode(int *mode) { return 0; }

Status cudaStreamCreateWithPriority(Handle *stream, unsigned flags, int priority) { *stream = &nothing; return 0; }
Status cudaStreamIsCapturing(Handle stream, int *status) { *status = 0; return 0; }
Status cudaStreamQuery(Handle stream) { return 0; }
Status cudaStreamSynchronize(Handle stream) { return 0; }
Status cudaStreamWaitEvent(Handle stream, Handle event, unsigned flags) { return 0; }

Status cudaEventCreateWithFlags(Handle *event, unsigned flags) { *event = &nothing; return 0; }
Status cudaEventDestroy(Handle event) { return 0; }
Status cudaEventRecord(Handle event, Handle stream) { return 0; }
Status cudaEventQuery(Handle event) { return 0; }
Status cudaEventSynchronize(Handle event) { return 0; }
