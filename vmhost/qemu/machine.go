// Package qemu turns a VM into a running QEMU: the command line, the chamber
// (mount and network namespace, uid, limits, label) described as a document,
// and vmexec, the program that carries the document out and becomes QEMU. It
// keeps no state and decides nothing about a VM's life: package vmhost does.
package qemu

// Program and firmware paths inside the chamber, which has the node's own /usr.
const (
	SystemPath  = "/usr/bin/qemu-system-x86_64"
	ImgPath     = "/usr/bin/qemu-img"
	OVMFCode    = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	OVMFVars    = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	KernelPath  = "/media/kernel" // fixed names: none of the document's strings
	InitrdPath  = "/media/initrd" // becomes part of a QEMU option
	MaxCDROMs   = 6               // ports of q35's AHCI controller
	tcgCacheMiB = 256             // translated code; QEMU's default depends on the host's RAM
)

// Machine is a VM with everything resolved: what the document names is a
// descriptor or a path in the chamber by now.
type Machine struct {
	Name   string
	UUID   string
	CPUs   int
	Memory uint64 // bytes
	TCG    bool   // no KVM
	KVM    int    // descriptor of /dev/kvm; not used with TCG
	QMP    int    // descriptor of a listening UNIX socket
	Serial int    // the same, for the serial console
	UEFI   bool
	NVRAM  int // descriptor of UEFI's variables, read-write
	Disks  []Disk
	NICs   []NIC
	// Kernel, Initrd: whether /media/kernel and /media/initrd are there.
	Kernel, Initrd bool
	Cmdline        string
}

// Disk is one drive. The first matching descriptor of FDs is QEMU's: one for
// reading and writing, one for reading only, or just the latter.
type Disk struct {
	FDs      []int
	Format   string // qcow2 or raw
	ReadOnly bool
	CDROM    bool
	// Shared marks a file that nobody on any node writes: it needs no lock.
	Shared    bool
	BootIndex int // 0: not booted from
}

// NIC is a virtio network card behind a tap.
type NIC struct {
	FD        int
	MAC       string
	BootIndex int
}
