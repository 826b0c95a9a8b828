package spec

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"casemate/policy"
)

// Limits of a VM. QEMU's q35 has room for 30 devices on its root bus.
const (
	MaxCPUs  = 255
	MaxDisks = 16
	MaxNICs  = 8

	maxCmdline = 2048 // COMMAND_LINE_SIZE of x86
)

var vmName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// ValidVMName tells whether name can be a VM's. It holds no character that
// means something in a path, a cgroup or a log line.
func ValidVMName(name string) bool { return vmName.MatchString(name) }

// Validate checks a document after SetDefaults. The error is a Problems with
// everything that is wrong. What only the node knows (other VMs, bridges,
// media, free memory) is not checked.
func (d VM) Validate() error {
	var p Problems
	if !vmName.MatchString(d.Name) {
		p.add("name", "%q: want 1 to 63 of a-z, 0-9 and -, starting with a letter", d.Name)
	}
	if d.CPUs < 1 || d.CPUs > MaxCPUs {
		p.add("cpus", "%d is not between 1 and %d", d.CPUs, MaxCPUs)
	}
	if d.Memory < minMemory || d.Memory > maxMemory {
		p.add("memory", "%s is not between %s and %s", d.Memory, Size(minMemory), Size(maxMemory))
	}
	p.oneOf("accelerator", d.Accelerator, AcceleratorKVM, AcceleratorTCG)
	p.oneOf("firmware", d.Firmware, FirmwareBIOS, FirmwareUEFI)
	p.boot(d.Boot)
	p.kernel(d.Kernel)
	p.security(d)
	p.disks(d.Disks)
	p.nics(d.NICs)
	return p.err()
}

func (p *Problems) boot(order []string) {
	seen := map[string]bool{}
	for i, b := range order {
		at := fmt.Sprintf("boot[%d]", i)
		p.oneOf(at, b, BootDisk, BootNetwork)
		if seen[b] {
			p.add(at, "%q is there twice", b)
		}
		seen[b] = true
	}
}

func (p *Problems) kernel(k *Kernel) {
	if k == nil {
		return
	}
	p.localFile("kernel.image", k.Image)
	if k.Initrd != "" {
		p.localFile("kernel.initrd", k.Initrd)
	}
	if len(k.Cmdline) > maxCmdline {
		p.add("kernel.cmdline", "has %d bytes; at most %d fit", len(k.Cmdline), maxCmdline)
	}
	if strings.ContainsFunc(k.Cmdline, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		p.add("kernel.cmdline", "has a control character, such as a line break")
	}
}

func (p *Problems) localFile(path, name string) {
	if v, err := ParseVolume(name); err != nil || v.IsNFS() {
		p.add(path, "%q: want local/NAME, a file that the node has", name)
	}
}

// security checks the label with the accelerator, which decides on the type.
func (p *Problems) security(d VM) {
	s := d.Security
	p.oneOf("security.mode", s.Mode, ModeDynamic, ModeStatic)
	switch {
	case s.Mode == ModeStatic && s.Label == "":
		p.add("security.label", "mode static needs a label, such as %s", policy.Process(policy.SvirtType, "s0:c1,c2"))
	case s.Mode == ModeStatic:
		typ := policy.SvirtType
		if d.Accelerator == AcceleratorTCG {
			typ = policy.SvirtTCGType
		}
		level, ok := strings.CutPrefix(s.Label, policy.Process(typ, ""))
		if !ok {
			p.add("security.label", "%q: want %s for accelerator %s", s.Label, policy.Process(typ, "s0:cA,cB"), d.Accelerator)
		} else if err := checkLevel(level); err != nil {
			p.add("security.label", "%v", err)
		}
	case s.Mode == ModeDynamic && s.Label != "":
		p.add("security.label", "mode dynamic takes no label: leave it out, or set mode: static")
	}
}

// Level gives the level of a valid static label, such as "s0:c12,c733", and ""
// for mode dynamic.
func (s Security) Level() string {
	if parts := strings.SplitN(s.Label, ":", 4); s.Mode == ModeStatic && len(parts) == 4 {
		return parts[3]
	}
	return ""
}

// checkLevel wants s0 with exactly two categories in the one form that the
// kernel gives back: labels are compared as strings.
func checkLevel(level string) error {
	rest, ok := strings.CutPrefix(level, "s0:")
	first, second, two := strings.Cut(rest, ",")
	if !ok || !two {
		return fmt.Errorf("level %q: want s0 with two categories, such as s0:c12,c733", level)
	}
	var pair [2]int
	for i, c := range []string{first, second} {
		n, err := strconv.Atoi(strings.TrimPrefix(c, "c"))
		if err != nil || c != "c"+strconv.Itoa(n) || n < 0 || n > 1023 {
			return fmt.Errorf("level %q: category %q is not one of c0 to c1023", level, c)
		}
		pair[i] = n
	}
	switch a, b := pair[0], pair[1]; {
	case a == b:
		return fmt.Errorf("level %q: the two categories are the same", level)
	case a > b:
		return fmt.Errorf("level %q: write the smaller category first: s0:c%d,c%d", level, b, a)
	}
	return nil
}

func (p *Problems) disks(disks []Disk) {
	if len(disks) > MaxDisks {
		p.add("disks", "%d disks; at most %d fit", len(disks), MaxDisks)
	}
	seen := map[string]int{}
	for i, d := range disks {
		at := fmt.Sprintf("disks[%d]", i)
		v, err := ParseVolume(d.Volume)
		if err != nil {
			p.add(at+".volume", "%v", err)
		} else if first, dup := seen[v.String()]; dup {
			p.add(at+".volume", "%s is disks[%d] already", d.Volume, first)
		} else {
			seen[v.String()] = i
		}
		p.oneOf(at+".access", d.Access, AccessExclusive, AccessReadonly)
		p.oneOf(at+".device", d.Device, DeviceDisk, DeviceCDROM)
		if d.Format == "" {
			p.add(at+".format", "the file's suffix does not tell: set format to qcow2 or raw")
		} else {
			p.oneOf(at+".format", d.Format, FormatQcow2, FormatRaw)
		}
		if d.Access == AccessExclusive && d.Device == DeviceCDROM {
			p.add(at+".access", "a cdrom is readonly")
		} else if d.Access == AccessExclusive && v.Local != "" {
			p.add(at+".access", "files on the node are readonly")
		}
	}
}

func (p *Problems) nics(nics []NIC) {
	if len(nics) > MaxNICs {
		p.add("nics", "%d NICs; at most %d fit", len(nics), MaxNICs)
	}
	seen := map[string]int{}
	for i, n := range nics {
		at := fmt.Sprintf("nics[%d]", i)
		if err := checkInterface(n.Bridge); err != nil {
			p.add(at+".bridge", "%v", err)
		}
		if n.MAC == "" {
			continue
		}
		mac, err := net.ParseMAC(n.MAC)
		switch {
		case err != nil || len(mac) != 6:
			p.add(at+".mac", "%q: want six bytes in hex, such as 52:54:00:12:34:56", n.MAC)
			continue
		case mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00":
			p.add(at+".mac", "%s is no address of one card: it is a group's or zero", n.MAC)
		}
		if first, dup := seen[mac.String()]; dup {
			p.add(at+".mac", "%s is nics[%d]'s already", n.MAC, first)
		}
		seen[mac.String()] = i
	}
}
