package qemu

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

var machines = map[string]Machine{
	"kvm-nfs-disk": {
		Name: "web-1", UUID: "0fb8a2b4-4a3c-4b0e-9d2b-2f1d5b7e9a10", CPUs: 2, Memory: 2 << 30,
		KVM: 200, QMP: 5, Serial: 6,
		Disks: []Disk{{FDs: []int{201, 202}, Format: "qcow2", BootIndex: 1}},
		NICs:  []NIC{{FD: 7, MAC: "52:54:00:12:34:56", BootIndex: 2}},
	},
	"tcg-kernel": {
		Name: "probe", UUID: "0fb8a2b4-4a3c-4b0e-9d2b-2f1d5b7e9a11", CPUs: 1, Memory: 512 << 20,
		TCG: true, QMP: 5, Serial: 6, Kernel: true, Initrd: true, Cmdline: "console=ttyS0 quiet",
	},
	"uefi-cdrom": {
		Name: "installer", UUID: "0fb8a2b4-4a3c-4b0e-9d2b-2f1d5b7e9a12", CPUs: 4, Memory: 1 << 30,
		KVM: 200, QMP: 5, Serial: 6, UEFI: true, NVRAM: 201,
		Disks: []Disk{
			{FDs: []int{202, 203}, Format: "raw", BootIndex: 2},
			{FDs: []int{8}, Format: "raw", ReadOnly: true, CDROM: true, Shared: true, BootIndex: 1},
		},
		NICs: []NIC{{FD: 7, MAC: "52:54:00:12:34:57"}},
	},
}

func TestArgs(t *testing.T) {
	for name, m := range machines {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".args")
			got := strings.Join(m.Args(), "\n") + "\n"
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("Args() differs from %s (-want +got); rewrite it with -update:\n%s", path, d)
			}
		})
	}
}

// shape reduces arguments to what QEMU takes as structure: option names, keys
// of key=value lists and of JSON objects.
func shape(t *testing.T, args []string) []string {
	t.Helper()
	var out []string
	for i := 0; i < len(args); i++ {
		out = append(out, args[i])
		if args[i] == "-nodefaults" || args[i] == "-no-user-config" {
			continue
		}
		option := args[i]
		i++
		switch value := args[i]; {
		case option == "-append" || option == "-uuid": // taken whole
		case strings.HasPrefix(value, "{"):
			var o map[string]any
			if err := json.Unmarshal([]byte(value), &o); err != nil {
				t.Fatalf("%s %s: %v", option, value, err)
			}
			keys := []string{}
			for k, v := range o {
				if inner, ok := v.(map[string]any); ok {
					for ik := range inner {
						keys = append(keys, k+"."+ik)
					}
				}
				keys = append(keys, k)
			}
			slices.Sort(keys)
			out = append(out, keys...)
		default:
			// QEMU's opts parser: two commas are one that separates nothing.
			for _, kv := range strings.Split(strings.ReplaceAll(value, ",,", "\x00"), ",") {
				k, _, _ := strings.Cut(kv, "=")
				out = append(out, k)
			}
		}
	}
	return out
}

// FuzzArgs: whatever strings a document holds, QEMU gets the same options.
func FuzzArgs(f *testing.F) {
	f.Add("web-1", "console=ttyS0", "52:54:00:00:00:01")
	f.Add("a,sandbox=off", "x -sandbox off", `","netdev":"x`)
	f.Add("a,,b", "-S\n-monitor stdio", "52,mac=1")
	f.Add("a\x00b", `{"driver":"file"}`, "\\\"}")
	f.Fuzz(func(t *testing.T, name, cmdline, mac string) {
		m := machines["tcg-kernel"]
		m.NICs = []NIC{{FD: 7, MAC: "52:54:00:12:34:56", BootIndex: 1}}
		want := shape(t, m.Args())
		m.Name, m.Cmdline, m.NICs = name, cmdline, []NIC{{FD: 7, MAC: mac, BootIndex: 1}}
		args := m.Args()
		if d := cmp.Diff(want, shape(t, args)); d != "" {
			t.Errorf("Args() with name %q, cmdline %q, mac %q changed its shape:\n%s", name, cmdline, mac, d)
		}
		if !slices.Contains(args, cmdline) {
			t.Errorf("Args() has no argument that is the cmdline %q as it stands", cmdline)
		}
	})
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		memory uint64
		cpus   int
		tcg    bool
		want   []Limit
	}{
		{2 << 30, 2, false, []Limit{{"memory.max", "2523293286"}, {"cpu.max", "200000 100000"}, {"pids.max", "258"}}},
		{512 << 20, 1, true, []Limit{{"memory.max", "1369020825"}, {"cpu.max", "100000 100000"}, {"pids.max", "257"}}},
	} {
		if d := cmp.Diff(c.want, Limits(c.memory, c.cpus, c.tcg)); d != "" {
			t.Errorf("Limits(%d, %d, %v) (-want +got):\n%s", c.memory, c.cpus, c.tcg, d)
		}
	}
}
