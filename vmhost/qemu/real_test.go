package qemu

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-qemu/qmp/raw"

	"casemate/vmhost/qmp"
)

// tree is the folder of unpacked packages with QEMU, as make image fetches them.
func tree(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("CASEMATE_TEST_TREE")
	if dir == "" {
		t.Skip("CASEMATE_TEST_TREE does not name a folder of unpacked packages with QEMU")
	}
	return dir
}

// TestRealQEMU has the real QEMU run in a real chamber, by TCG: firmware that
// speaks on the serial console, a disk, QMP; and looks at the process.
func TestRealQEMU(t *testing.T) {
	usr := filepath.Join(tree(t), "usr")
	for _, firmware := range []string{"bios", "uefi"} {
		t.Run(firmware, func(t *testing.T) {
			c := testChamber(t)
			c.NoFile = 16384
			c.Binds = []Bind{{usr, "/usr"}}
			dir, err := os.MkdirTemp("", "q") // short: the sockets' names are limited
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			disk := filepath.Join(dir, "disk")
			if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			m := machines["tcg-kernel"]
			m.Kernel, m.Initrd, m.UEFI = false, false, firmware == "uefi"
			m.QMP, m.Serial = FirstFD, FirstFD+1
			m.Disks = []Disk{{FDs: []int{FirstFD + 2, FirstFD + 3}, Format: "raw", BootIndex: 1}}
			c.NVRAM = nil
			if m.UEFI {
				m.NVRAM = OpenedFD
				c.NVRAM = &Copy{Source: filepath.Join(tree(t), OVMFVars), FD: OpenedFD}
			}
			var files []*os.File
			for _, s := range []string{"qmp", "serial"} {
				l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, s)})
				if err != nil {
					t.Fatal(err)
				}
				l.SetUnlinkOnClose(false)
				f, err := l.File()
				if err != nil {
					t.Fatal(err)
				}
				l.Close()
				files = append(files, f)
			}
			for _, flag := range []int{os.O_RDWR, os.O_RDONLY} {
				f, err := os.OpenFile(disk, flag, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := setDirect(f); err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			for i := range files {
				c.Inherit = append(c.Inherit, FirstFD+i)
			}
			c.Args = append([]string{SystemPath}, m.Args()...)

			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			var out bytes.Buffer
			p, err := testLauncher("vmexec").Start(ctx, c, files, nil, &out)
			for _, f := range files {
				f.Close() // else a dead QEMU's sockets would still listen
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				p.Kill()
				<-p.Done()
				if out.Len() > 0 {
					t.Errorf("QEMU said: %s", out.String())
				}
			}()
			serial, err := net.Dial("unix", filepath.Join(dir, "serial"))
			if err != nil {
				t.Fatal(err)
			}
			mon, err := qmp.Dial(ctx, filepath.Join(dir, "qmp"))
			if err != nil {
				t.Fatalf("%v (%s)", err, out.String())
			}
			var st raw.StatusInfo
			if err := mon.Execute(ctx, "query-status", nil, &st); err != nil || !st.Running {
				t.Errorf("query-status = %+v, %v; want running", st, err)
			}
			var cpus []map[string]any
			if err := mon.Execute(ctx, "query-cpus-fast", nil, &cpus); err != nil || len(cpus) != m.CPUs {
				t.Errorf("query-cpus-fast gives %d CPUs, %v; want %d", len(cpus), err, m.CPUs)
			}
			want := map[string]string{"bios": "SeaBIOS", "uefi": "UEFI"}[firmware]
			serial.SetReadDeadline(time.Now().Add(50 * time.Second))
			var console strings.Builder
			buf := make([]byte, 4096)
			for !strings.Contains(console.String(), want) {
				n, err := serial.Read(buf)
				if err != nil {
					t.Fatalf("console without %q: %v; it said %q", want, err, console.String())
				}
				console.Write(buf[:n])
			}
			status, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/status")
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{
				"Uid:\t100007\t100007\t100007\t100007", "Groups:\t \n", "NoNewPrivs:\t1", "Seccomp:\t2",
				"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
				"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
			} {
				if !strings.Contains(string(status), line) {
					t.Errorf("/proc/PID/status of QEMU has no line %q:\n%s", line, status)
				}
			}
			links, err := exec.Command("sh", "-c", "ls -l /proc/$0/fd; cat /proc/$0/mountinfo", strconv.Itoa(p.PID)).CombinedOutput()
			t.Logf("%v\n%s", err, links)
			if err := mon.Execute(ctx, "quit", nil, nil); err != nil {
				t.Error(err)
			}
			if e := p.Exit(); !e.OK() {
				t.Errorf("QEMU after quit: %v; want exit status 0", e)
			}
		})
	}
}
