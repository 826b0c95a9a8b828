package spec

import (
	"net"
	"path"
	"strings"
)

// The words of a VM document.
const (
	AcceleratorKVM  = "kvm"
	AcceleratorTCG  = "tcg"
	FirmwareBIOS    = "bios"
	FirmwareUEFI    = "uefi"
	BootDisk        = "disk"
	BootNetwork     = "network"
	ModeDynamic     = "dynamic"
	ModeStatic      = "static"
	AccessExclusive = "exclusive"
	AccessReadonly  = "readonly"
	FormatQcow2     = "qcow2"
	FormatRaw       = "raw"
	DeviceDisk      = "disk"
	DeviceCDROM     = "cdrom"
	UplinkAuto      = "auto"
	UplinkNone      = "none"
)

const (
	mib           = 1 << 20
	defaultMemory = 512 * mib
	minMemory     = 32 * mib
	maxMemory     = 16 << 40
)

// SetDefaults fills in what the document leaves open, rounds memory up to
// whole MiB (QEMU wants whole pages) and writes MACs in lower case. It changes
// nothing that Validate would refuse.
func (d *VM) SetDefaults() {
	if d.CPUs == 0 {
		d.CPUs = 1
	}
	if d.Memory == 0 {
		d.Memory = defaultMemory
	}
	if rest := d.Memory % mib; rest != 0 {
		d.Memory += mib - rest
	}
	setDefault(&d.Accelerator, AcceleratorKVM)
	setDefault(&d.Firmware, FirmwareBIOS)
	setDefault(&d.Security.Mode, ModeDynamic)
	if len(d.Boot) == 0 {
		d.Boot = []string{BootDisk, BootNetwork}
	}
	for i := range d.Disks {
		d.Disks[i].setDefaults()
	}
	for i := range d.NICs {
		if mac, err := net.ParseMAC(d.NICs[i].MAC); err == nil {
			d.NICs[i].MAC = mac.String()
		}
	}
}

// setDefaults looks at names only: what is in a volume is the guest's to write.
func (d *Disk) setDefaults() {
	device, access := DeviceDisk, AccessExclusive
	if strings.EqualFold(path.Ext(d.Volume), ".iso") {
		device = DeviceCDROM
	}
	setDefault(&d.Device, device)
	if d.Device == DeviceCDROM || strings.HasPrefix(d.Volume, "local/") {
		access = AccessReadonly // nothing else is possible
	}
	setDefault(&d.Access, access)
	setDefault(&d.Format, FormatOf(d.Volume))
}

// SetDefaults fills in what the node document leaves open.
func (n *Node) SetDefaults() {
	setDefault(&n.Name, "casemate")
	for i := range n.Network.Bridges {
		setDefault(&n.Network.Bridges[i].Uplink, UplinkAuto)
	}
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}
