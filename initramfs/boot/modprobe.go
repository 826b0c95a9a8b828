package boot

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"casemate/initramfs/boot/kmod"

	"golang.org/x/sys/unix"
)

// enableModprobe has the kernel run this program when it misses a module.
var enableModprobe = setting{"/proc/sys/kernel/modprobe", "/usr/sbin/modprobe"}

// onDemand has what the kernel may ask for. It asks for much, at the wish of
// whoever makes a system call; nothing but what this node is for is loaded so.
var onDemand = []string{"fs-nfs", "fs-nfs4", "nfsv4"}

// Modprobe is the program that the kernel runs as "modprobe -q -- NAME". It runs
// in init_t, nobody sees what it prints, and the kernel waits for it.
func Modprobe(args []string) error {
	name, err := modprobeName(args)
	if err != nil {
		return err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	modules, err := kmod.Open(filepath.Join("/usr/lib/modules", unix.ByteSliceToString(uts.Release[:])))
	if err != nil {
		return err
	}
	return modules.Load(name)
}

// modprobeName takes the kernel's arguments, without argv[0].
func modprobeName(args []string) (string, error) {
	if len(args) != 3 || args[0] != "-q" || args[1] != "--" {
		return "", errors.New("this is for the kernel: modprobe -q -- NAME")
	}
	if !slices.Contains(onDemand, args[2]) {
		return "", fmt.Errorf("module %s is not one to load on demand", args[2])
	}
	return args[2], nil
}
