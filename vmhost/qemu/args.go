package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Args gives QEMU's arguments, without argv[0]. Whatever comes from a VM
// document is either a whole argument or a JSON string, where a comma means
// nothing; numbers and the fixed words are the only parts of key=value options.
func (m Machine) Args() []string {
	b := builder{args: []string{
		"-nodefaults", "-no-user-config",
		"-name", "guest=" + escape(m.Name) + ",debug-threads=on",
		"-uuid", m.UUID,
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-display", "none",
		"-machine", m.machine(),
	}}
	if m.TCG {
		b.add("-accel", fmt.Sprintf("tcg,thread=multi,tb-size=%d", tcgCacheMiB))
		b.add("-cpu", "max")
	} else {
		b.add("-accel", "kvm,device="+b.fdset(m.KVM))
		b.add("-cpu", "host")
	}
	b.add("-smp", "cpus="+strconv.Itoa(m.CPUs))
	b.add("-m", fmt.Sprintf("size=%dB", m.Memory))
	b.add("-rtc", "base=utc")
	b.add("-boot", "strict=on") // what boot does not name is not tried
	b.add("-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", m.QMP))
	b.add("-mon", "chardev=qmp,mode=control")
	b.add("-chardev", fmt.Sprintf("socket,id=serial0,fd=%d,server=on,wait=off", m.Serial))
	b.device(object{"driver": "isa-serial", "chardev": "serial0"})
	b.json("-object", object{"qom-type": "rng-builtin", "id": "rng0"})
	b.device(object{"driver": "virtio-rng-pci", "rng": "rng0"})
	b.device(object{"driver": "pvpanic-pci"})
	if m.UEFI {
		b.blockdev("firmware", "raw", OVMFCode, true, object{"locking": "off"})
		b.blockdev("nvram", "raw", b.fdset(m.NVRAM), false, object{"locking": "off"})
	}
	b.disks(m.Disks)
	b.nics(m.NICs)
	if m.Kernel {
		b.add("-kernel", KernelPath)
		if m.Initrd {
			b.add("-initrd", InitrdPath)
		}
		b.add("-append", m.Cmdline)
	}
	return b.args
}

func (m Machine) machine() string {
	// graphics=off sends SeaBIOS' screen to the serial port: there is no other.
	s := "q35,usb=off,vmport=off,smm=off,graphics=off,dump-guest-core=off,mem-merge=off"
	if m.UEFI {
		s += ",pflash0=firmware,pflash1=nvram"
	}
	return s
}

type object map[string]any

type builder struct {
	args   []string
	sets   int
	cdroms int
}

func (b *builder) add(args ...string) { b.args = append(b.args, args...) }

func (b *builder) json(option string, o object) {
	j, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings, numbers and booleans only
	}
	b.add(option, string(j))
}

func (b *builder) device(o object) { b.json("-device", o) }

// fdset passes descriptors to QEMU as one set and gives the file name that
// stands for it. QEMU takes the one whose access mode fits.
func (b *builder) fdset(fds ...int) string {
	b.sets++
	for _, fd := range fds {
		b.add("-add-fd", fmt.Sprintf("fd=%d,set=%d", fd, b.sets))
	}
	return "/dev/fdset/" + strconv.Itoa(b.sets)
}

// blockdev adds a format node over a file. The format is always said and never
// probed: the guest writes the content.
func (b *builder) blockdev(node, format, file string, readonly bool, fileOptions object) {
	f := object{"driver": "file", "filename": file}
	for k, v := range fileOptions {
		f[k] = v
	}
	o := object{"driver": format, "node-name": node, "read-only": readonly, "file": f}
	if format == "qcow2" {
		o["backing"] = nil // no file name from the image's header is ever opened
	}
	if !readonly && node != "nvram" {
		// A volume lives on a network: the guest's own cache is enough, and the
		// node's memory belongs to the guests.
		o["cache"] = object{"direct": true}
		o["discard"] = "unmap"
	}
	b.json("-blockdev", o)
}

func (b *builder) disks(disks []Disk) {
	for i, d := range disks {
		node, locking := "disk"+strconv.Itoa(i), "on"
		if d.Shared {
			locking = "off"
		}
		b.blockdev(node, d.Format, b.fdset(d.FDs...), d.ReadOnly, object{"locking": locking})
		dev := object{"id": "drive-" + node, "drive": node}
		if d.CDROM {
			dev["driver"], dev["bus"] = "ide-cd", "ide."+strconv.Itoa(b.cdroms)
			b.cdroms++
		} else {
			// A full or lost volume stops the guest instead of breaking its
			// file system; resume goes on.
			dev["driver"], dev["werror"], dev["rerror"] = "virtio-blk-pci", "stop", "stop"
		}
		boot(dev, d.BootIndex)
		b.device(dev)
	}
}

func (b *builder) nics(nics []NIC) {
	for i, n := range nics {
		id := "net" + strconv.Itoa(i)
		b.json("-netdev", object{"type": "tap", "id": id, "fd": strconv.Itoa(n.FD)})
		dev := object{"driver": "virtio-net-pci", "id": "nic" + strconv.Itoa(i), "netdev": id, "mac": n.MAC}
		if n.BootIndex == 0 {
			dev["romfile"] = "" // no PXE code where nothing boots from the network
		}
		boot(dev, n.BootIndex)
		b.device(dev)
	}
}

func boot(dev object, index int) {
	if index > 0 {
		dev["bootindex"] = index
	}
}

// escape doubles commas, which separate QEMU's key=value options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
