package boot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"casemate/initramfs/boot/devlabel"
	"casemate/initramfs/boot/halt"
	"casemate/initramfs/boot/kmod"

	"golang.org/x/sys/unix"
)

// Modules that no device asks for: what VMs need, beside KVM, and what their
// volumes need.
var (
	vmModules     = []string{"bridge", "tun"}
	volumeModules = []string{"nfsv4"}
)

// KVM's module by CPU flag.
var kvmModules = map[string]string{"svm": "kvm_amd", "vmx": "kvm_intel"}

// devices loads the drivers for the devices that are there (coldplug) and that
// come later (uevents), and labels their nodes.
type devices struct {
	modules *kmod.Loader
	logf    func(format string, args ...any)
	slots   chan struct{} // bounds how many modules are loaded at once
	onInput func(name string)
}

func newDevices(modules *kmod.Loader, logf func(string, ...any), onInput func(name string)) *devices {
	return &devices{modules, logf, make(chan struct{}, runtime.NumCPU()), onInput}
}

// listen handles uevents from now on, in the background.
func (d *devices) listen() error {
	fd, err := multicast(unix.NETLINK_KOBJECT_UEVENT, 1)
	if err != nil {
		return err
	}
	go func() {
		defer halt.OnPanic()
		receive(fd, d.handle, func(err error) { d.logf("devices: uevents lost: %v", err) })
	}()
	return nil
}

func (d *devices) handle(b []byte) {
	e, err := parseUevent(b)
	if err != nil {
		d.logf("devices: %v", err)
		return
	}
	if e.action != "add" {
		return
	}
	if e.devname != "" {
		if err := devlabel.Node("/dev", e.devname); err != nil {
			d.logf("devices: %v", err)
		}
		if e.subsystem == "input" {
			d.onInput(e.devname)
		}
	}
	if e.modalias != "" {
		if names := d.modules.Match(e.modalias); len(names) > 0 {
			go func() {
				defer halt.OnPanic()
				d.load(names)
			}()
		}
	}
}

// coldplug loads the drivers for what the kernel found before we listened. KVM,
// which the CPU asks for, is the largest module of all and none that the boot
// needs to go on: forVMs loads it.
func (d *devices) coldplug(context.Context) error {
	seen := map[string]bool{}
	for _, later := range kvmModules {
		seen[later] = true
	}
	var names []string
	for _, alias := range modaliases("/sys") {
		for _, name := range d.modules.Match(alias) {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	d.load(names)
	return nil
}

// forVMs loads what VMs need, whatever the machine's devices are.
func (d *devices) forVMs(context.Context) error {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	names := vmModules
	if kvm := kvmModule(string(cpuinfo)); kvm != "" {
		names = append(names[:len(names):len(names)], kvm)
	} else {
		d.logf("devices: the CPU has no virtualization (neither svm nor vmx): no KVM")
	}
	// One after the other: side by side they mostly wait for each other's locks
	// and interrupts, and the other CPUs have the rest of the boot to do.
	for _, name := range names {
		d.load([]string{name})
	}
	return devlabel.All("/dev")
}

// forVolumes loads what volumes need.
func (d *devices) forVolumes() { d.load(volumeModules) }

// kvmModule gives KVM's module for the CPU in /proc/cpuinfo's text.
func kvmModule(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		name, flags, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "flags" {
			continue
		}
		for flag := range strings.FieldsSeq(flags) {
			if m := kvmModules[flag]; m != "" {
				return m
			}
		}
		return "" // all CPUs are alike
	}
	return ""
}

// load loads modules side by side and waits for them.
func (d *devices) load(names []string) {
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Add(1)
		d.slots <- struct{}{}
		go func() {
			defer halt.OnPanic()
			defer wg.Done()
			defer func() { <-d.slots }()
			// ENODEV: the driver found no device of its own after all.
			if err := d.modules.Load(name); err != nil && !errors.Is(err, unix.ENODEV) {
				d.logf("devices: %v", err)
			}
		}()
	}
	wg.Wait()
}

// modaliases gives the modalias of each device below sys, each once. All
// devices that drivers match are on a bus; walking all of /sys/devices would
// find the same in ten times as many directories.
func modaliases(sys string) []string {
	seen := map[string]bool{}
	var all []string
	for _, pattern := range []string{"bus/*/devices/*/modalias", "class/input/*/modalias", "devices/system/cpu/modalias"} {
		files, _ := filepath.Glob(filepath.Join(sys, pattern)) // fails on a bad pattern only
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				continue // gone meanwhile, or a driver that answers ENODEV
			}
			// A CPU has several aliases, a line each.
			for line := range bytes.Lines(b) {
				if alias := string(bytes.TrimSpace(line)); alias != "" && !seen[alias] {
					seen[alias] = true
					all = append(all, alias)
				}
			}
		}
	}
	return all
}

// randomReady says whether the kernel gives random numbers without waiting.
func randomReady() bool {
	_, err := unix.Getrandom(make([]byte, 1), unix.GRND_NONBLOCK)
	return !errors.Is(err, unix.EAGAIN)
}
