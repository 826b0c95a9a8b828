package spec

import (
	"strings"
	"testing"
)

func TestVMValidate(t *testing.T) {
	const dup = "disks: [{volume: 'nfs://filer/e/a.qcow2'}, {volume: 'nfs://FILER:2049/e/a.qcow2'}]"
	for _, c := range []struct{ doc, want string }{ // want "" is valid
		{"", ""},
		{"name: Web", "name: \"Web\": want 1 to 63"},
		{"name: 1a", "name: \"1a\""},
		{"name: ../a", "name: \"../a\""},
		{"name: " + strings.Repeat("a", 64), "name: "},
		{"cpus: 256", "cpus: 256 is not between 1 and 255"},
		{"cpus: -1", "cpus: -1 is not"},
		{"memory: 31MiB", "memory: 31MiB is not between 32MiB and 16TiB"},
		{"memory: 32MiB", ""},
		{"memory: 500MB", ""},
		{"memory: 17TiB", "memory: 17TiB is not"},
		{"accelerator: xen", `accelerator: "xen" is not one of kvm, tcg`},
		{"firmware: coreboot", "firmware: "},
		{"boot: [disk, disk]", `boot[1]: "disk" is there twice`},
		{"boot: [floppy]", "boot[0]: "},
		{"kernel: {image: 'nfs://f/e/vmlinuz'}", "kernel.image: "},
		{"kernel: {}", "kernel.image: "},
		{"kernel: {image: local/k, initrd: local/../k}", "kernel.initrd: "},
		{`kernel: {image: local/k, cmdline: "a\nb"}`, "kernel.cmdline: has a control character"},
		{"security: {mode: none}", `security.mode: "none" is not one of dynamic, static`},
		{"security: {mode: static}", "security.label: mode static needs a label"},
		{"security: {label: x}", "security.label: mode dynamic takes no label"},
		{label("svirt_t:s0:c1,c2"), ""},
		{label("svirt_tcg_t:s0:c1,c2"), "security.label: "},
		{"accelerator: tcg\n" + label("svirt_tcg_t:s0:c1,c2"), ""},
		{label("init_t:s0:c1,c2"), "security.label: "},
		{label("svirt_t:s0"), "want s0 with two categories"},
		{label("svirt_t:s0:c1"), "want s0 with two categories"},
		{label("svirt_t:s0:c1,c2,c3"), `category "c2,c3"`},
		{label("svirt_t:s0:c1,c1"), "are the same"},
		{label("svirt_t:s0:c2,c1"), "write the smaller category first: s0:c1,c2"},
		{label("svirt_t:s0:c1,c1024"), `category "c1024"`},
		{label("svirt_t:s0:c01,c2"), `category "c01"`},
		{label("svirt_t:s0:c0.c1023"), "want s0 with two categories"},
		{label("svirt_t:s0-s0:c1,c2"), "security.label: "},
		{"disks: [{volume: ''}]", "disks[0].volume: "},
		{"disks: [{volume: /etc/passwd}]", "disks[0].volume: "},
		{"disks: [{volume: 'nfs://filer/a.qcow2'}]", "want a directory and a file"},
		{"disks: [{volume: 'nfs://filer/e/../a.qcow2'}]", `path element ".."`},
		{"disks: [{volume: 'nfs://filer/e//a.qcow2'}]", `path element ""`},
		{"disks: [{volume: 'nfs://u@filer/e/a.qcow2'}]", "no user"},
		{"disks: [{volume: 'nfs://filer/e/a%2fb.raw'}]", "percent"},
		{"disks: [{volume: 'nfs://filer:0/e/a.raw'}]", "port"},
		{"disks: [{volume: 'nfs://filer/e/a,b.raw'}]", "path element"},
		{"disks: [{volume: local/a/b.raw}]", "disks[0].volume: "},
		{"disks: [{volume: 'nfs://filer/e/a'}]", "disks[0].format: the file's suffix does not tell"},
		{"disks: [{volume: 'nfs://filer/e/a', format: raw}]", ""},
		{"disks: [{volume: 'nfs://[fd00::1]:2050/e/a.img'}]", ""},
		{"disks: [{volume: 'nfs://filer/e/a.raw', format: vmdk}]", "disks[0].format: "},
		{"disks: [{volume: 'nfs://filer/e/a.raw', access: rw}]", "disks[0].access: "},
		{"disks: [{volume: 'nfs://filer/e/a.raw', device: tape}]", "disks[0].device: "},
		{"disks: [{volume: local/a.raw, access: exclusive}]", "files on the node are readonly"},
		{"disks: [{volume: 'nfs://filer/e/a.iso', access: exclusive}]", "a cdrom is readonly"},
		{"disks: [{volume: local/a.iso}]", ""},
		{dup, "disks[1].volume: nfs://FILER:2049/e/a.qcow2 is disks[0] already"},
		{"disks: [" + strings.Repeat("{volume: x},", 17) + "]", "disks: 17 disks; at most 16 fit"},
		{"nics: [{bridge: ''}]", "nics[0].bridge: want an interface name"},
		{"nics: [{bridge: lan, mac: x}]", "nics[0].mac: "},
		{"nics: [{bridge: lan, mac: '01:00:5e:00:00:01'}]", "nics[0].mac: "},
		{"nics: [{bridge: lan, mac: '52:54:00:00:00:0A'}, {bridge: lan, mac: '52-54-00-00-00-0a'}]", "nics[1].mac: 52:54:00:00:00:0a is nics[0]'s already"},
		{"nics: [{bridge: lan}, {bridge: lan}]", ""},
	} {
		in := c.doc
		if !strings.Contains(in, "name:") {
			in += "\nname: a"
		}
		doc, err := ParseVM([]byte(in))
		if err == nil {
			doc.SetDefaults()
			err = doc.Validate()
		}
		checkProblem(t, in, err, c.want)
	}
}

func label(l string) string { return "security: {mode: static, label: 'system_u:system_r:" + l + "'}" }

func checkProblem(t *testing.T, in string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("Validate(%.80q) = %v; want nil", in, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("Validate(%.80q) = %v; want %q in it", in, err, want)
	}
}

func TestDiskDefaults(t *testing.T) {
	for _, c := range []struct{ volume, format, device, access string }{
		{"nfs://f/e/a.qcow2", "qcow2", "disk", "exclusive"},
		{"nfs://f/e/a.raw", "raw", "disk", "exclusive"},
		{"nfs://f/e/a.img", "raw", "disk", "exclusive"},
		{"nfs://f/e/a.ISO", "raw", "cdrom", "readonly"},
		{"local/a.iso", "raw", "cdrom", "readonly"},
		{"local/a.qcow2", "qcow2", "disk", "readonly"},
	} {
		got := Disk{Volume: c.volume}
		got.setDefaults()
		if want := (Disk{c.volume, c.access, c.format, c.device}); got != want {
			t.Errorf("setDefaults(%s) = %+v; want %+v", c.volume, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Size
		str  string
	}{
		{"0", 0, "0"}, {"1", 1, "1"}, {"1B", 1, "1"}, {"1KiB", 1024, "1KiB"}, {" 10 GiB ", 10 << 30, "10GiB"},
		{"1MB", 1000000, "1000000"}, {"1048576", 1 << 20, "1MiB"}, {"8388607TiB", 8388607 << 40, "8388607TiB"},
	} {
		if got, err := ParseSize(c.in); got != c.want || err != nil || got.String() != c.str {
			t.Errorf("ParseSize(%q) = %d (%s), %v; want %d (%s)", c.in, got, got, err, c.want, c.str)
		}
	}
	for _, in := range []string{"", "-1", "1.5GiB", "1Gi", "GiB", "0x10", "8388608TiB", "1_000", "+1"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d; want an error", in, got)
		}
	}
}

func TestNodeValidate(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	media := func(name, url, sha string) Node { return Node{Media: []Media{{name, url, sha}}} }
	bridges := func(b ...Bridge) Node { return Node{Network: Network{Bridges: b}} }
	for _, c := range []struct {
		node Node
		want string
	}{
		{Node{}, ""},
		{Node{Name: "n1.example.org"}, ""},
		{Node{Name: "N1"}, "name: "},
		{Node{Name: "-a"}, "name: "},
		{Node{Name: strings.Repeat("a", 64)}, "name: "},
		{Node{NFS: NFS{UID: 1<<32 - 1}}, "nfs.uid: "},
		{Node{NFS: NFS{GID: 1<<32 - 1}}, "nfs.gid: "},
		{bridges(Bridge{Name: "lan"}), ""},
		{bridges(Bridge{Name: ""}), "network.bridges[0].name: want an interface name"},
		{bridges(Bridge{Name: "abcdefghijklmnop"}), "at most 15 bytes"},
		{bridges(Bridge{Name: "a/b"}), "network.bridges[0].name: "},
		{bridges(Bridge{Name: ".."}), "network.bridges[0].name: "},
		{bridges(Bridge{Name: "lo"}), "network.bridges[0].name: "},
		{bridges(Bridge{Name: "a b"}), "network.bridges[0].name: "},
		{bridges(Bridge{Name: "br\u00fc"}), "network.bridges[0].name: "},
		{bridges(Bridge{"lan", "eth0"}, Bridge{"lan", "none"}), `network.bridges[1].name: "lan" is network.bridges[0]'s`},
		{bridges(Bridge{"lan", ""}, Bridge{"dmz", "auto"}), `network.bridges[1].uplink: "auto" is network.bridges[0]'s`},
		{bridges(Bridge{"lan", "eth0"}, Bridge{"dmz", "none"}, Bridge{"x", "none"}), ""},
		{bridges(Bridge{"lan", "dmz"}, Bridge{"dmz", "none"}), "network.bridges[0].uplink: \"dmz\" is a bridge itself"},
		{media("a.iso", "http://h/a.iso", sum), ""},
		{media("../a", "http://h/a.iso", sum), "media[0].name: "},
		{media("", "http://h/a.iso", sum), "media[0].name: "},
		{media("a", "ftp://h/a", sum), "media[0].url: "},
		{media("a", "http:///a", sum), "media[0].url: "},
		{media("a", "http://h/a", "abcd"), "media[0].sha256: "},
		{media("a", "http://h/a", strings.ToUpper(sum)), "media[0].sha256: "},
		{Node{Media: []Media{{"a", "http://h/a", sum}, {"a", "http://h/b", sum}}}, "media[1].name: \"a\" is media[0]'s"},
	} {
		c.node.SetDefaults()
		err := c.node.Validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("Validate(%+v) = %v; want nil", c.node, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("Validate(%+v) = %v; want %q in it", c.node, err, c.want)
		}
	}
}
