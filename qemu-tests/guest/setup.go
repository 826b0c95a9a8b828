package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var mounts = []struct{ fstype, target string }{
	{"proc", "/proc"},
	{"sysfs", "/sys"},
	{"devtmpfs", "/dev"},
}

// setup makes the guest's name space: file systems, modules, power button.
func setup() error {
	var errs []error
	for _, m := range mounts {
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, ""); err != nil {
			errs = append(errs, &os.PathError{Op: "mount", Path: m.target, Err: err})
		}
	}
	if n := cmdline("/proc/cmdline", "guest.name"); n != "" {
		name = n
	}
	errs = append(errs, loadModules("/modules"))
	errs = append(errs, watchPowerButton("/sys/class/input", "/dev/input"))
	return errors.Join(errs...)
}

// cmdline gives the value of key=value in a kernel command line, "" if it is
// not there.
func cmdline(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for _, f := range strings.Fields(string(b)) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v
		}
	}
	return ""
}

// loadModules loads the modules that dir/order names, in its order.
func loadModules(dir string) error {
	order, err := os.ReadFile(dir + "/order")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range strings.Fields(string(order)) {
		f, err := os.Open(dir + "/" + m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, &os.PathError{Op: "load module", Path: m, Err: err})
		}
	}
	return errors.Join(errs...)
}

// cpuModel gives the first "model name" of /proc/cpuinfo.
func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(v, "\t :\n")
		}
	}
	return "unknown"
}

// underKVM says whether the kernel found KVM's CPUID leaf under it; QEMU
// without KVM has a signature of its own there.
func underKVM() bool {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		say("error: %v", fmt.Errorf("whether KVM is under this kernel is unknown: %w", err))
		return false
	}
	defer f.Close()
	buf := make([]byte, 8192) // one record a read, as kmsg has it
	for {
		n, err := unix.Read(int(f.Fd()), buf)
		if errors.Is(err, unix.EPIPE) {
			continue // the ring buffer overtook us; the next read goes on
		}
		if err != nil {
			return false
		}
		if strings.Contains(string(buf[:n]), "Hypervisor detected: KVM") {
			return true
		}
	}
}
