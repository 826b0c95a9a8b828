package qemu

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuseFallocate makes fallocate(2) fail with EOPNOTSUPP in this thread and in
// what it executes. Linux's NFS client sends ALLOCATE and DEALLOCATE with the
// identity of the caller, not of whoever opened the file as it does READ and
// WRITE (fs/nfs/nfs42proc.c sets no rpc_cred): the server refuses a VM's own uid
// with EACCES, which stops the guest. After EOPNOTSUPP QEMU writes zeros instead.
// This is for QEMU's sake and keeps nobody out: the sandbox is QEMU's own filter,
// which comes on top.
func refuseFallocate() error {
	const (
		nr, arch = 0, 4       // offsets in struct seccomp_data
		allow    = 0x7fff0000 // SECCOMP_RET_ALLOW
		errno    = 0x00050000 // SECCOMP_RET_ERRNO
	)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: arch},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AUDIT_ARCH_X86_64, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FALLOCATE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: errno | uint32(unix.EOPNOTSUPP)},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
