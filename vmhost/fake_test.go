package vmhost

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
)

// The test binary plays vmexec and QEMU when the environment says how.
func TestMain(m *testing.M) {
	if how := os.Getenv("CASEMATE_FAKE"); how != "" {
		fakeQEMU(how)
	}
	os.Exit(m.Run())
}

// fakeQEMU takes the chamber document as vmexec does and then speaks just
// enough QMP on the inherited socket. how is one word of misbehaviour.
func fakeQEMU(how string) {
	var c qemu.Chamber
	if err := json.NewDecoder(os.NewFile(3, "document")).Decode(&c); err != nil {
		os.Exit(9)
	}
	report := os.NewFile(4, "report")
	if op, ok := strings.CutPrefix(how, "report "); ok {
		f := qemu.Failure{Op: op, Object: "nfs://192.0.2.1/x/disk.qcow2", Message: "as the test wants it", Errno: int(syscall.ENOENT)}
		if op == qemu.OpCreateVolume {
			f.Errno = int(syscall.EEXIST)
		}
		json.NewEncoder(report).Encode(f)
		os.Exit(1)
	}
	report.Close()
	if how == "real" {
		becomeReal(c)
	}
	fds := map[string]int{}
	for i, a := range c.Args {
		var id string
		var fd int
		if c.Args[max(i-1, 0)] == "-chardev" {
			if _, err := fmt.Sscanf(strings.NewReplacer(",", " ").Replace(a), "socket id=%s fd=%d", &id, &fd); err == nil {
				fds[id] = fd
			}
		}
	}
	switch how {
	case "dies":
		fmt.Fprintln(os.Stderr, "qemu: this is how it dies")
		os.Exit(1)
	case "img":
		os.Exit(0)
	case "silent":
		time.Sleep(time.Hour)
	}
	serial, err := net.FileListener(os.NewFile(uintptr(fds["serial0"]), "serial"))
	if err != nil {
		os.Exit(8)
	}
	go func() {
		for {
			conn, err := serial.Accept()
			if err != nil {
				return
			}
			go func() { // an echo with a greeting
				io.WriteString(conn, "hello from the guest\r\n")
				io.Copy(conn, conn)
			}()
		}
	}()
	monitor, err := net.FileListener(os.NewFile(uintptr(fds["qmp"]), "qmp"))
	if err != nil {
		os.Exit(8)
	}
	for {
		conn, err := monitor.Accept()
		if err != nil {
			os.Exit(7)
		}
		go fakeMonitor(conn, how)
	}
}

var fakeStatus = "running"

func fakeMonitor(conn net.Conn, how string) {
	say := func(v string, args ...any) { fmt.Fprintf(conn, v+"\n", args...) }
	event := func(name, data string) {
		say(`{"timestamp":{"seconds":1,"microseconds":1},"event":%q,"data":%s}`, name, data)
	}
	say(`{"QMP":{"version":{"qemu":{"micro":13,"minor":0,"major":10},"package":"fake"},"capabilities":[]}}`)
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var cmd struct {
			Execute string
			ID      any
		}
		json.Unmarshal(in.Bytes(), &cmd)
		id, _ := json.Marshal(cmd.ID)
		ret := "{}"
		switch cmd.Execute {
		case "query-status":
			ret = fmt.Sprintf(`{"running":%v,"status":%q}`, fakeStatus == "running", fakeStatus)
		case "stop":
			fakeStatus = "paused"
			event("STOP", "{}")
		case "cont":
			fakeStatus = "running"
			event("RESUME", "{}")
		case "system_reset":
			event("RESET", `{"guest":false,"reason":"host-qmp-system-reset"}`)
		}
		say(`{"return":%s,"id":%s}`, ret, id)
		switch {
		case cmd.Execute == "quit" && how != "stubborn":
			event("SHUTDOWN", `{"guest":false,"reason":"host-qmp-quit"}`)
			os.Exit(0)
		case cmd.Execute == "system_powerdown" && how == "acpi":
			event("SHUTDOWN", `{"guest":true,"reason":"guest-shutdown"}`)
			event("STOP", "{}")
			os.Exit(0)
		case cmd.Execute == "system_reset" && how == "panics":
			event("GUEST_PANICKED", `{"action":"shutdown"}`)
			event("SHUTDOWN", `{"guest":true,"reason":"guest-panic"}`)
			os.Exit(0)
		case cmd.Execute == "system_reset" && how == "crashes":
			fmt.Fprintln(os.Stderr, "qemu: assertion failed")
			os.Exit(134)
		case cmd.Execute == "system_reset" && how == "hangs up":
			conn.Close()
			return
		}
	}
}

// fakeNode is a node without kernel: what it was asked for, it notes.
type fakeNode struct {
	t    *testing.T
	m    *Manager
	dir  string
	logs *syncBuffer

	mu      sync.Mutex
	how     string         // CASEMATE_FAKE of the next start
	label   string         // label that processes have, "" for the one meant
	labels  map[int]string // by pid
	procs   []*qemu.Process
	held    map[string][]string // media by owner
	fail    string              // what fails: "tap 1", "cgroup", "media", ...
	groups  map[string]bool
	sockets int // made so far
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm") // short, for the sockets' names
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{t: t, dir: dir, logs: &syncBuffer{}, how: "ok", labels: map[int]string{}, held: map[string][]string{}, groups: map[string]bool{}}
	for _, d := range []string{"vms", "media"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{
		"media/vmlinuz": "kernel", "media/initrd": "initrd", "media/tools.iso": "iso",
		"kvm": "", "enforce": "1", "node.log": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.m = n.newManager()
	t.Cleanup(func() {
		for _, p := range n.procs {
			p.Kill()
			<-p.Done()
		}
		for _, v := range n.m.all() { // its watcher writes into dir
			v.mu.Lock()
			r := v.run
			v.mu.Unlock()
			if r != nil {
				<-r.ended
			}
		}
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("log:\n%s", n.logs)
		}
	})
	return n
}

func (n *fakeNode) newManager() *Manager {
	at := func(name string) string { return filepath.Join(n.dir, name) }
	paths := Paths{
		VMs: at("vms"), Chamber: at("chamber"), Media: at("media"), Log: at("node.log"), Cgroup: at("cgroup"),
		USR: "/usr", KVM: at("kvm"), Enforce: at("enforce"), Release: at("release.json"),
	}
	times := Times{Start: 10 * time.Second, QMP: 2 * time.Second, Quit: 300 * time.Millisecond, Volume: 5 * time.Second}
	sys := system{
		launch: n.launch, adopt: qemu.Adopt, cgroups: n, labels: n, media: n,
		openTap: n.openTap, bridges: func() ([]string, error) { return []string{"lan"}, nil }, pid1: os.Getpid(),
	}
	node := spec.NodeInfo{Name: "node-1", Version: "0.1", Kernel: "6.12", Policy: spec.PolicyInfo{Version: 33, Digest: "sha256:00"}}
	return newManager(node, paths, times, sys, slog.New(slog.NewTextHandler(n.logs, nil)))
}

func (n *fakeNode) set(how, label, fail string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.how, n.label, n.fail = how, label, fail
}

func (n *fakeNode) fails(what string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail == what {
		return errors.New(what + " fails, as the test wants it")
	}
	return nil
}

func (n *fakeNode) launch(ctx context.Context, c qemu.Chamber, files []*os.File, cgroup *os.File, output *tail) (*qemu.Process, error) {
	n.mu.Lock()
	l := qemu.Launcher{Path: "/proc/self/exe", Env: []string{"CASEMATE_FAKE=" + n.how, "TREE=" + os.Getenv("CASEMATE_TEST_TREE")}}
	n.mu.Unlock()
	p, err := l.Start(ctx, c, files, nil, output)
	if err == nil {
		n.mu.Lock()
		n.procs = append(n.procs, p)
		n.labels[p.PID] = c.Label
		n.mu.Unlock()
	}
	return p, err
}

// The seams of system.

func (n *fakeNode) make(socket, file string, f func() error) error {
	n.mu.Lock()
	n.sockets++
	what := fmt.Sprintf("socket %d", n.sockets)
	n.mu.Unlock()
	if err := n.fails(what); err != nil {
		return err
	}
	return f()
}

func (n *fakeNode) process(pid int) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.label != "" {
		return n.label, nil
	}
	return n.labels[pid], nil
}

func (n *fakeNode) Create(name string, limits []qemu.Limit) (*os.File, error) {
	if err := n.fails("cgroup"); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.groups[name] {
		return nil, os.ErrExist
	}
	n.groups[name] = true
	return os.Open("/dev/null")
}

func (n *fakeNode) Remove(_ context.Context, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.groups, name)
	return nil
}

func (n *fakeNode) List() ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for g := range n.groups {
		out = append(out, g)
	}
	return out, nil
}

func (n *fakeNode) Acquire(owner, name string) (*os.File, error) {
	if err := n.fails("media " + name); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(n.dir, "media", name))
	if err == nil {
		n.mu.Lock()
		n.held[owner] = append(n.held[owner], name)
		n.mu.Unlock()
	}
	return f, err
}

func (n *fakeNode) Release(owner string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.held, owner)
	return nil
}

func (n *fakeNode) Sweep() error { return nil }

func (n *fakeNode) openTap(vm uint32, nic int, bridge, mac string) (*os.File, error) {
	if err := n.fails(fmt.Sprintf("tap %d", nic)); err != nil {
		return nil, err
	}
	return os.Open("/dev/zero")
}

// left lists what runs of VMs have not given back.
func (n *fakeNode) left() (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for g := range n.groups {
		out = append(out, "cgroup "+g)
	}
	for o, files := range n.held {
		out = append(out, fmt.Sprintf("media %v of %s", files, o))
	}
	for _, p := range n.procs {
		select {
		case <-p.Done():
		default:
			out = append(out, fmt.Sprintf("process %d", p.PID))
		}
	}
	files, _ := filepath.Glob(filepath.Join(n.dir, "vms", "*", "*"))
	for _, f := range files {
		if filepath.Base(f) != recordName {
			out = append(out, "file "+f)
		}
	}
	slices.Sort(out)
	return out
}

// openFiles counts our descriptors of the kinds that a start hands over.
func openFiles() (out []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil &&
			(strings.HasPrefix(to, "/dev/zero") || strings.Contains(to, "/media/") || strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "pipe:")) {
			out = append(out, to)
		}
	}
	return out
}

func (n *fakeNode) wantState(name string, want api.State) api.VM {
	n.t.Helper()
	var vm api.VM
	for range 500 {
		var err error
		if vm, err = n.m.Get(n.t.Context(), name); err != nil {
			n.t.Fatal(err)
		}
		if vm.Status.State == want {
			return vm
		}
		time.Sleep(10 * time.Millisecond)
	}
	n.t.Fatalf("VM %s is %s (%s); want %s", name, vm.Status.State, vm.Status.Reason, want)
	return vm
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
