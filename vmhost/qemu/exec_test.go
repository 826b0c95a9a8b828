package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// noLabels stands for SELinux where there is none. It notes what it was asked.
type noLabels struct{}

func (noLabels) mountOption(string) (string, error) { return "", nil }
func (noLabels) setExec(label string) error         { return nil }

// The test binary plays vmexec when the environment says so, and the program
// in the chamber when its first argument does.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("CASEMATE_TEST_ROLE") == "vmexec":
		os.Exit(run(noLabels{}))
	case os.Getenv("CASEMATE_TEST_ROLE") == "vmexec-selinux":
		Exec()
	case len(os.Args) > 1 && os.Args[1] == "probe":
		json.NewEncoder(os.Stdout).Encode(probe())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// view is what a program sees of itself in its chamber.
type view struct {
	UID, GID   [3]int
	Groups     []int
	Caps       [5]uint64 // effective, permitted, inheritable, bounding bits, ambient bits
	NoNewPrivs int
	PID        int
	FDs        []int
	Root       []string
	Dev        []string
	Interfaces int
	WriteRoot  string // error of writing to /
	WriteUsr   string
	Environ    []string
	Core       uint64
	Umask      int
	NVRAM      string
}

func probe() (v view) {
	for i, get := range []func() (int, int){
		func() (int, int) { return unix.Getuid(), unix.Getgid() },
		func() (int, int) { return unix.Geteuid(), unix.Getegid() },
	} {
		v.UID[i], v.GID[i] = get()
	}
	v.Groups, _ = unix.Getgroups()
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	unix.Capget(&h, &d[0])
	for i, x := range d {
		v.Caps[0] |= uint64(x.Effective) << (32 * i)
		v.Caps[1] |= uint64(x.Permitted) << (32 * i)
		v.Caps[2] |= uint64(x.Inheritable) << (32 * i)
	}
	for c := 0; c < 41; c++ {
		if n, _ := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); n == 1 {
			v.Caps[3] |= 1 << c
		}
		if n, _ := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c), 0, 0); n == 1 {
			v.Caps[4] |= 1 << c
		}
	}
	v.NoNewPrivs, _ = unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	v.PID = os.Getpid()
	for fd := 0; fd < 1024; fd++ {
		// The Go runtime of this program has opened its own, all CLOEXEC.
		if fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fl&unix.FD_CLOEXEC == 0 {
			v.FDs = append(v.FDs, fd)
		}
	}
	v.Root, v.Dev = names("/"), names("/dev")
	if s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err == nil {
		for i := uint32(1); i < 64; i++ {
			if ifr, err := interfaceName(s, i); err == nil && ifr != "" {
				v.Interfaces++
			}
		}
	}
	v.WriteRoot = fmt.Sprint(os.WriteFile("/x", nil, 0o600))
	v.WriteUsr = fmt.Sprint(os.WriteFile("/usr/x", nil, 0o600))
	v.Environ = os.Environ()
	var l syscall.Rlimit
	syscall.Getrlimit(unix.RLIMIT_CORE, &l)
	v.Core = l.Max
	v.Umask = unix.Umask(0)
	nvram := os.NewFile(201, "nvram")
	b := make([]byte, 64)
	n, _ := nvram.ReadAt(b, 0)
	v.NVRAM = string(b[:n])
	if _, err := nvram.WriteAt([]byte("X"), 0); err != nil {
		v.NVRAM = err.Error()
	}
	return v
}

func names(dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func interfaceName(s int, index uint32) (string, error) {
	ifr, _ := unix.NewIfreq("x")
	ifr.SetUint32(index)
	err := unix.IoctlIfreq(s, unix.SIOCGIFNAME, ifr)
	return ifr.Name(), err
}

// testChamber is a chamber around the test binary.
func testChamber(t *testing.T) Chamber {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a chamber has uids and mounts that one's own user namespace has not")
	}
	if err := exec.Command("/proc/self/exe", "-test.run=^$").Run(); err != nil {
		t.Skip("can not execute itself: ", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A file that the chamber's uid may not read by its path.
	dir := t.TempDir()
	nvram := filepath.Join(dir, "vars")
	if err := os.WriteFile(nvram, []byte("variables"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Chamber{
		Root: t.TempDir(), Context: "unused", Label: "unused",
		Binds:   []Bind{{"/usr", "/usr"}, {self, "/media/probe"}},
		Devices: []string{"null", "zero", "random", "urandom"},
		NVRAM:   &Copy{Source: nvram, FD: 201},
		UID:     100007, GID: 100007, NoFile: 1024,
		Args: []string{"/media/probe", "probe"},
	}
}

func testLauncher(role string) Launcher {
	l := NewLauncher()
	l.Env = []string{"CASEMATE_TEST_ROLE=" + role}
	return l
}

func TestChamber(t *testing.T) {
	c := testChamber(t)
	pipeR, pipeW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipeR.Close()
	defer pipeW.Close()
	// Two are handed over, the document keeps one.
	c.Inherit = []int{FirstFD + 1}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	p, err := testLauncher("vmexec").Start(ctx, c, []*os.File{pipeR, pipeW}, nil, &out)
	if errors.Is(err, unix.EPERM) || isFailure(err, unix.EPERM) {
		t.Skip("not allowed to make namespaces here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if e := p.Exit(); !e.OK() {
		t.Fatalf("probe: %v\n%s", e, out.String())
	}
	var v view
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	t.Logf("%+v", v)
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"uids", v.UID, [3]int{100007, 100007}},
		{"gids", v.GID, [3]int{100007, 100007}},
		{"groups", len(v.Groups), 0},
		{"capabilities", v.Caps, [5]uint64{}},
		{"no_new_privs", v.NoNewPrivs, 1},
		{"pid in its namespace", v.PID, 1},
		{"descriptors", v.FDs, []int{0, 1, 2, FirstFD + 1, 201}},
		{"root", v.Root, []string{"bin", "dev", "lib", "lib64", "media", "nvram", "usr", "volumes"}},
		{"devices", v.Dev, []string{"null", "random", "urandom", "zero"}},
		{"network interfaces but lo", v.Interfaces, 1},
		{"environment", len(v.Environ), 0},
		{"core limit", v.Core, uint64(0)},
		{"umask", v.Umask, 0o077},
		{"nvram", v.NVRAM, "variables"},
		{"writing to /", v.WriteRoot, "open /x: read-only file system"},
		{"writing to /usr", v.WriteUsr, "open /usr/x: read-only file system"},
	} {
		if fmt.Sprint(c.got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %v; want %v", c.what, c.got, c.want)
		}
	}
	if left := names(c.Root); len(left) != 0 {
		t.Errorf("the chamber shows in the node's own mount namespace: %v", left)
	}
}

func isFailure(err error, errno unix.Errno) bool {
	var f *Failure
	return errors.As(err, &f) && f.Errno == int(errno)
}

func TestChamberFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		role   string
		break_ func(*Chamber)
		want   string
	}{
		{"no program", "vmexec", func(c *Chamber) { c.Args[0] = "/usr/bin/nonesuch" }, "execute /usr/bin/nonesuch: no such file or directory"},
		{"no device", "vmexec", func(c *Chamber) { c.Devices = []string{"nonesuch"} }, "find /dev/nonesuch: lstat /dev/nonesuch: no such file or directory"},
		{"symbolic link", "vmexec", func(c *Chamber) { c.Binds[0].Source = "/proc/self" }, "bind /proc/self: is a symbolic link"},
		{"descriptor twice", "vmexec", func(c *Chamber) { c.NVRAM.FD = 3 }, "descriptor 3 is in use"},
		{"descriptor missing", "vmexec", func(c *Chamber) { c.Inherit = []int{77} }, "keep descriptor 77: bad file descriptor"},
		{"no label for files", "vmexec-selinux", func(c *Chamber) { c.Context = "" }, "no label given: nothing is mounted without"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := testChamber(t)
			c.break_(&ch)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var out bytes.Buffer
			_, err := testLauncher(c.role).Start(ctx, ch, nil, nil, &out)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Start() = %v; want an error with %q (output %q)", err, c.want, out.String())
			}
		})
	}
}

// TestFailsWithoutSELinux: where the kernel has no SELinux, the real vmexec
// starts nothing.
func TestFailsWithoutSELinux(t *testing.T) {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		t.Skip("this kernel has SELinux")
	}
	c := testChamber(t)
	c.Context, c.Label = "system_u:object_r:svirt_chamber_t:s0", "system_u:system_r:svirt_t:s0:c1,c2"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	p, err := testLauncher("vmexec-selinux").Start(ctx, c, nil, nil, &out)
	if err == nil {
		t.Errorf("Start() without SELinux = pid %d; want an error", p.PID)
	}
	t.Log(err)
}

// TestStartDeadline: a vmexec that does not come to an end is killed.
func TestStartDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	l := Launcher{Path: "/bin/sleep"} // argv[0] is vmexec: sleep complains and ends
	if _, err := l.Start(ctx, Chamber{}, nil, nil, nil); err != nil {
		t.Logf("sleep without operand: %v", err) // EPIPE or none: it reads no document
	}
	stuck := filepath.Join(t.TempDir(), "stuck")
	if err := os.WriteFile(stuck, []byte("#!/bin/sh\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err := Launcher{Path: stuck}.Start(ctx, Chamber{}, nil, nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start() of a stuck vmexec = %v; want %v", err, context.DeadlineExceeded)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("Start() took %v after its deadline", d)
	}
}

func TestAdopt(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := startTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Adopt(cmd.Process.Pid, start+1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Adopt(pid, other start time) = %v; want %v", err, os.ErrProcessDone)
	}
	p, err := Adopt(cmd.Process.Pid, start)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
		t.Fatal("Done() is closed while the process runs")
	case <-time.After(100 * time.Millisecond):
	}
	if err := p.Kill(); err != nil {
		t.Errorf("Kill() = %v", err)
	}
	select {
	case <-p.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("Done() is not closed after Kill()")
	}
	if p.Exit().OK() {
		t.Error("Exit().OK() = true for a process whose end is unknown")
	}
	cmd.Wait()
	if err := p.Kill(); err != nil {
		t.Errorf("Kill() of an ended process = %v; want nil", err)
	}
}

func TestCgroups(t *testing.T) {
	dir := t.TempDir()
	c := Cgroups(dir)
	// No control files: this is no cgroup file system.
	if _, err := c.Create("vm-a", Limits(1<<30, 1, false)); err == nil || !strings.Contains(err.Error(), "memory.max") {
		t.Errorf("Create() where memory.max can not be set = %v; want an error that names it", err)
	}
	if n := names(dir); len(n) != 0 {
		t.Errorf("a failed Create() left %v", n)
	}
	if err := c.Remove(t.Context(), "vm-a"); err != nil {
		t.Errorf("Remove() of none = %v; want nil", err)
	}
}

func TestCheckQcow2(t *testing.T) {
	header := func(backing byte) []byte {
		h := make([]byte, 104)
		copy(h, "QFI\xfb\x00\x00\x00\x03")
		h[15] = backing
		return h
	}
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"plain", header(0), ""},
		{"backing file", header(0x70), "backing file"},
		{"external data file", func() []byte { h := header(0); h[79] = 4; return h }(), "external data file"},
		{"raw", bytes.Repeat([]byte{0}, 512), "not a qcow2 file"},
		{"empty", nil, "not a qcow2 file"},
	} {
		err := checkQcow2(bytes.NewReader(c.file))
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("checkQcow2(%s) = %v; want %q", c.name, err, c.want)
		}
	}
}

func TestStartTime(t *testing.T) {
	got, err := startTime(os.Getpid())
	if err != nil || got == 0 {
		t.Errorf("startTime(self) = %s, %v; want a number", strconv.FormatUint(got, 10), err)
	}
	if _, err := startTime(1 << 30); err == nil {
		t.Error("startTime(no process) = nil; want an error")
	}
}
