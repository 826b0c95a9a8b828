package boot

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casemate/vmhost/spec"
)

func TestParseUevent(t *testing.T) {
	const msg = "add@/devices/virtual/misc/kvm\x00ACTION=add\x00DEVPATH=/devices/virtual/misc/kvm\x00SUBSYSTEM=misc\x00DEVNAME=kvm\x00MODALIAS=x:y\x00"
	got, err := parseUevent([]byte(msg))
	want := uevent{action: "add", devname: "kvm", subsystem: "misc", modalias: "x:y"}
	if err != nil || got != want {
		t.Errorf("parseUevent = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "libudev\x00\xfe\xed", "add@/x", "add@/x\x00DEVNAME=../etc/passwd\x00"} {
		if got, err := parseUevent([]byte(bad)); err == nil {
			t.Errorf("parseUevent(%q) = %+v; want an error", bad, got)
		}
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00DEVNAME=input/event0\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseUevent(b)
		if err == nil && e.devname != "" && !filepath.IsLocal(strings.TrimLeft(filepath.Clean("/"+e.devname), "/")) {
			t.Errorf("parseUevent(%q) gives device %q, which is not below /dev", b, e.devname)
		}
	})
}

func TestKVMModule(t *testing.T) {
	for in, want := range map[string]string{
		"processor\t: 0\nflags\t\t: fpu svm npt\n":           "kvm_amd",
		"processor\t: 0\nflags\t\t: fpu vmx\n\nprocessor: 1": "kvm_intel",
		"flags\t\t: fpu svm_lock\nvmx flags\t: vnmi svm\n":   "",
		"": "",
	} {
		if got := kvmModule(in); got != want {
			t.Errorf("kvmModule(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestModaliases(t *testing.T) {
	sys := t.TempDir()
	for file, text := range map[string]string{
		"bus/pci/devices/0000:00:01.0/modalias":  "pci:v00001AF4d00001041\n",
		"bus/pci/devices/0000:00:02.0/modalias":  "pci:v00001AF4d00001041\n",
		"bus/acpi/devices/PNP0C0C:00/modalias":   "acpi:PNP0C0C:\n",
		"bus/platform/devices/empty/modalias":    "",
		"devices/system/cpu/modalias":            "cpu:type:x86,ven0002\ncpu:type:x86,ven0003\n",
		"devices/pci0000:00/0000:00:01.0/vendor": "0x1af4\n",
	} {
		path := filepath.Join(sys, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := modaliases(sys)
	slices.Sort(got)
	want := []string{"acpi:PNP0C0C:", "cpu:type:x86,ven0002", "cpu:type:x86,ven0003", "pci:v00001AF4d00001041"}
	if !slices.Equal(got, want) {
		t.Errorf("modaliases = %q; want %q", got, want)
	}
}

func TestAudit(t *testing.T) {
	var got []string
	a := &auditLog{write: func(line string) { got = append(got, line) }, seen: map[string]bool{}}
	for _, line := range kmsgTexts([]byte("5,100,5000,-;audit: type=1400 audit(1.5:5): avc:  denied  { write } for  pid=1\n SUBSYSTEM=x\n")) {
		a.kernelLine(line)
	}
	a.kernelLine("audit: type=1300 audit(1.5:6): arch=c000003e")
	a.kernelLine("loop: module loaded")
	a.kernelLine("audit: type=")
	message := func(typ uint16, text string) []byte {
		b := make([]byte, 16, 16+len(text))
		binary.NativeEndian.PutUint16(b[4:], typ)
		return append(b, text...)
	}
	a.message(message(1400, "audit(1.5:5): avc:  denied  { write } for  pid=1\x00")) // as above
	a.message(message(1400, "audit(1.7:7): avc:  denied  { read } for  pid=9\n"))
	a.message(message(1300, "audit(1.7:7): arch=c000003e"))
	a.message(message(1326, "audit(1.8:8): auid=4 sig=31"))
	a.message([]byte("short"))
	want := []string{
		"audit: type=1400 audit(1.5:5): avc:  denied  { write } for  pid=1",
		"audit: type=1400 audit(1.7:7): avc:  denied  { read } for  pid=9",
		"audit: type=1326 audit(1.8:8): auid=4 sig=31",
	}
	if !slices.Equal(got, want) {
		t.Errorf("audit log = %q; want %q", got, want)
	}
}

func FuzzAudit(f *testing.F) {
	f.Add([]byte("0123456789abcdefaudit(1.5:5): avc: denied"))
	f.Add([]byte("5,1,2,-;audit: type=1400 audit(1.5:5): avc\n X=y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &auditLog{seen: map[string]bool{}, write: func(line string) {
			if !strings.HasPrefix(line, "audit: type=1") {
				t.Errorf("%q became %q; want a line audit: type=1...", b, line)
			}
		}}
		a.message(b)
		for _, line := range kmsgTexts(b) {
			a.kernelLine(line)
		}
	})
}

func TestHasKey(t *testing.T) {
	for _, tt := range []struct {
		mask string
		want bool
	}{
		{"10000000000000 0\n", true}, // the ACPI button: bit 52 of word 1
		{"402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n", true},
		{"1\n", false}, {"0 0\n", false}, {"", false}, {"zz 0", false}, {"8000000000000 0", false},
	} {
		if got := hasKey(tt.mask, keyPower); got != tt.want {
			t.Errorf("hasKey(%q, KEY_POWER) = %v; want %v", tt.mask, got, tt.want)
		}
	}
}

func TestReadButton(t *testing.T) {
	event := func(typ, code uint16, value int32) []byte {
		b := make([]byte, 16)
		b = binary.NativeEndian.AppendUint16(b, typ)
		b = binary.NativeEndian.AppendUint16(b, code)
		return binary.NativeEndian.AppendUint32(b, uint32(value))
	}
	pressed := 0
	readButton(bytes.NewReader(slices.Concat(
		event(evKey, keyPower, 1), event(0, 0, 0), event(evKey, keyPower, 0), event(evKey, 30, 1), event(evKey, keyPower, 2))),
		func() { pressed++ })
	if pressed != 1 {
		t.Errorf("the button was pressed %d times; want 1: neither release, repeat nor another key", pressed)
	}
}

func TestToUnmount(t *testing.T) {
	const mounts = `/dev/loop0 / erofs ro 0 0
devtmpfs /dev devtmpfs rw 0 0
proc /proc proc rw 0 0
sysfs /sys sysfs rw 0 0
selinuxfs /sys/fs/selinux selinuxfs rw 0 0
tmpfs /run tmpfs rw 0 0
tmpfs /run/casemate/a\040b tmpfs rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
`
	want := []string{"/sys/fs/cgroup", "/run/casemate/a b", "/run"}
	if got := toUnmount(mounts); !slices.Equal(got, want) {
		t.Errorf("toUnmount = %q; want %q", got, want)
	}
}

func TestReadyLine(t *testing.T) {
	info := spec.NodeInfo{Name: "n1", Policy: spec.PolicyInfo{Digest: "sha256:ab"}}
	const want = "ready node=n1 api=https://10.0.2.15:8443 fingerprint=SHA256:cd policy=sha256:ab uptime=5.25"
	if got := readyLine(info, net.IPv4(10, 0, 2, 15), "cd", "5.25 9.00\n"); got != want {
		t.Errorf("readyLine = %q; want %q", got, want)
	}
	info.Permissive = true
	if got := readyLine(info, nil, "cd", "5.25 9.00\n"); !strings.HasSuffix(got, " permissive=1") || !strings.Contains(got, "https://0.0.0.0:8443") {
		t.Errorf("readyLine of a permissive node without an address = %q; want it to say so", got)
	}
}
