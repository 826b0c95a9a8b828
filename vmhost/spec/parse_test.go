package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const fullVM = `# a comment
---
name: web-1
cpus: 2
memory: 2GiB
accelerator: tcg
firmware: uefi
boot: [disk, network]
kernel: {image: local/vmlinuz, initrd: local/initrd.img, cmdline: "console=ttyS0 quiet"}
security:
  mode: static
  label: system_u:system_r:svirt_tcg_t:s0:c12,c733
disks:
  - volume: nfs://filer/exports/web-1/root.qcow2
  - volume: local/tools.iso
    access: readonly
nics:
  - bridge: lan
    mac: 52:54:00:12:34:56
`

func TestParseVM(t *testing.T) {
	got, err := ParseVM([]byte(fullVM))
	if err != nil {
		t.Fatalf("ParseVM(fullVM): %v", err)
	}
	want := VM{
		Name: "web-1", CPUs: 2, Memory: 2 << 30, Accelerator: "tcg", Firmware: "uefi",
		Boot:     []string{"disk", "network"},
		Kernel:   &Kernel{Image: "local/vmlinuz", Initrd: "local/initrd.img", Cmdline: "console=ttyS0 quiet"},
		Security: Security{Mode: "static", Label: "system_u:system_r:svirt_tcg_t:s0:c12,c733"},
		Disks:    []Disk{{Volume: "nfs://filer/exports/web-1/root.qcow2"}, {Volume: "local/tools.iso", Access: "readonly"}},
		NICs:     []NIC{{Bridge: "lan", MAC: "52:54:00:12:34:56"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseVM(fullVM) (-want +got):\n%s", diff)
	}
	got.SetDefaults()
	if err := got.Validate(); err != nil {
		t.Errorf("Validate(fullVM) = %v", err)
	}
	if got.Security.Level() != "s0:c12,c733" {
		t.Errorf("Level() = %q; want s0:c12,c733", got.Security.Level())
	}
}

func TestParseVMTakesJSON(t *testing.T) {
	got, err := ParseVM([]byte("{\n\t\"name\": \"a\",\n\t\"memory\": 67108864, \"disks\": []}"))
	if diff := cmp.Diff(VM{Name: "a", Memory: 64 << 20}, got); err != nil || diff != "" {
		t.Errorf("ParseVM(JSON with tabs) error %v (-want +got):\n%s", err, diff)
	}
}

func TestParseVMErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"name: a\ncolour: red", "colour: unknown field"},
		{"name: a\nNICS: []", "NICS: unknown field; did you mean nics?"},
		{"name: a\ndisk: []", "disk: unknown field; did you mean disks?"},
		{"name: a\nname: b", `key "name" already set`},
		{`{"name":"a","name":"b"}`, "name: field given twice"},
		{"name: a\ndisks:\n- volume: local/x\n- volum: y", "disks[1].volum: unknown field"},
		{"name: a\ndisks:\n-", "disks[0]: empty entry"},
		{"name: 12", "name: want text, have a number 12: put it in quotes"},
		{"name: on", "name: want text, have a truth value true: put it in quotes"},
		{"name: [a]", "name: want string, have a list"},
		{"name: a\nmemory: -5", `memory: size "-5": must not be negative`},
		{"name: a\nmemory: -1GiB", `memory: size "-1GiB": must not be negative`},
		{"name: a\nmemory: lots", `memory: size "lots": want a whole number`},
		{"name: a\nmemory: 99999999999999999999", "too large"},
		{"name: a\ncpus: two", "cpus: want a whole number"},
		{"name: a\ncpus: 1.5", "cpus: want a whole number in the range of int, have 1.5"},
		{"name: a\ndisks: {volume: x}", "disks: want a list, have fields"},
		{"name: a\nkernel: vmlinuz", "kernel: want fields with values, have text"},
		{"name: a\n---\nname: b", "more than one YAML document"},
		{"name: a\n...\nname: b", "more than one YAML document"},
		{"- name: a", "want fields with values, have a list"},
		{"name: a\n\tcpus: 1", "line 2"},
		{"name: \xff", "invalid"},
		{strings.Repeat("#", MaxVMDocument+1), "at most 65536"},
	} {
		_, err := ParseVM([]byte(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseVM(%.60q) error = %v; want %q in it", c.in, err, c.want)
		}
	}
}

func TestParseNamesAllProblems(t *testing.T) {
	_, err := ParseVM([]byte("nam: a\ncpus: x\ndisks: [{volume: 1}]"))
	problems, ok := err.(Problems)
	if !ok || len(problems) != 3 {
		t.Errorf("ParseVM(three mistakes) error = %v; want 3 Problems", err)
	}
}

// A bomb that would expand to a thousand million strings must end at once.
func TestParseBoundsAliases(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 10; i++ {
		n, prev := string(rune('0'+i)), string(rune('0'+i-1))
		bomb += "a" + n + ": &a" + n + " [" + strings.Repeat("*a"+prev+",", 9) + "*a" + prev + "]\n"
	}
	if _, err := ParseVM([]byte(bomb)); err == nil || !strings.Contains(err.Error(), "excessive aliasing") {
		t.Errorf("ParseVM(bomb) error = %.200v; want excessive aliasing", err)
	}
	deep := strings.Repeat("[", MaxVMDocument-10)
	if _, err := ParseVM([]byte(deep)); err == nil {
		t.Error("ParseVM(64 Ki of [) = nil error")
	}
}

func TestParseNode(t *testing.T) {
	got, err := ParseNode([]byte("name: n1\nnetwork: {bridges: [{name: lan}]}\nnfs: {uid: 1000, gid: 1000}\n"))
	want := Node{Name: "n1", Network: Network{Bridges: []Bridge{{Name: "lan"}}}, NFS: NFS{1000, 1000}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("ParseNode error %v (-want +got):\n%s", err, diff)
	}
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n", "{}"} {
		n, err := ParseNode([]byte(empty))
		if err != nil {
			t.Errorf("ParseNode(%q) error = %v; want none", empty, err)
		}
		n.SetDefaults()
		if err := n.Validate(); err != nil {
			t.Errorf("Validate(ParseNode(%q)) = %v", empty, err)
		}
	}
	if _, err := ParseNode([]byte("nfs: {uid: -1}")); err == nil || !strings.Contains(err.Error(), "nfs.uid: want a whole number in the range of uint32") {
		t.Errorf("ParseNode(uid -1) error = %v", err)
	}
}
