"""A GPU that is emulated: torch sees a device `cuda:0`, and the numbers are on the CPU.

Whole runs go through the code that a GPU takes: batches in page-locked memory, autocast, asynchronous copies, checks
that come some steps later. What a GPU would mind is recorded: tensors of two devices in one operation (an error, as on
a GPU), operations that make the CPU wait for the device, copies that are not asynchronous, states that cuDNN refuses,
operations that have no deterministic kernel; and how many operations a step dispatches.

It says nothing of speed, memory, or the numerics of kernels. A CUDA build of torch and a C compiler are needed: torch
asks CUDA's runtime for devices and streams before it asks for any kernel, and `libraries.py` builds the answers.
"""
