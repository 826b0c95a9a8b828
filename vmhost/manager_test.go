package vmhost

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"casemate/vmhost/api"
	"casemate/vmhost/spec"
)

// web is a document that takes one of everything.
func web(name string) spec.VM {
	return spec.VM{
		Name: name, CPUs: 1, Memory: 64 << 20,
		Kernel: &spec.Kernel{Image: "local/vmlinuz", Initrd: "local/initrd", Cmdline: "quiet"},
		Disks: []spec.Disk{
			{Volume: "nfs://192.0.2.1/exports/" + name + "/root.qcow2"},
			{Volume: "local/tools.iso"},
		},
		NICs: []spec.NIC{{Bridge: "lan"}, {Bridge: "lan"}},
	}
}

func (n *fakeNode) create(doc spec.VM) api.VM {
	n.t.Helper()
	vm, err := n.m.Create(n.t.Context(), doc)
	if err != nil {
		n.t.Fatalf("Create(%s) = %v", doc.Name, err)
	}
	return vm
}

func (n *fakeNode) start(name string) api.VM {
	n.t.Helper()
	vm, err := n.m.Start(n.t.Context(), name)
	if err != nil {
		n.t.Fatalf("Start(%s) = %v", name, err)
	}
	return vm
}

func status(err error) int {
	var e *api.Error
	var p spec.Problems
	switch {
	case errors.As(err, &e):
		return e.Status
	case errors.As(err, &p):
		return http.StatusUnprocessableEntity
	case err != nil:
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

func TestLife(t *testing.T) {
	n := newFakeNode(t)
	made := n.create(web("web-1"))
	if made.Status.State != api.Shutoff || made.Status.Level == "" || made.NICs[0].MAC == "" || made.Status.UID != firstUID {
		t.Errorf("Create() = %+v; want shutoff with level, MAC and uid", made)
	}
	ctx := t.Context()
	vm := n.start("web-1")
	if want := "system_u:system_r:svirt_t:" + made.Status.Level; vm.Status.State != api.Running || vm.Status.Label != want || vm.Status.PID == 0 {
		t.Errorf("Start() = %+v; want running with label %s", vm.Status, want)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context, string) (api.VM, error)
		want api.State
	}{
		{"pause", n.m.Pause, api.Paused},
		{"resume", n.m.Resume, api.Running},
		{"shutdown", n.m.Shutdown, api.Shutdown},
		{"reset", n.m.Reset, api.Running},
		{"stop", n.m.Stop, api.Shutoff},
		{"start", n.m.Start, api.Running},
		{"stop", n.m.Stop, api.Shutoff},
	} {
		if _, err := step.do(ctx, "web-1"); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		n.wantState("web-1", step.want)
	}
	after, _ := n.m.Get(ctx, "web-1")
	if after.Status.Level != made.Status.Level || after.Status.PID != 0 || after.Status.Label != "" {
		t.Errorf("after stop: %+v; want the level kept, no pid, no label", after.Status)
	}
	if left := n.left(); len(left) != 0 {
		t.Errorf("left after stop: %v", left)
	}
	if err := n.m.Delete(ctx, "web-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.m.Get(ctx, "web-1"); status(err) != http.StatusNotFound {
		t.Errorf("Get() after Delete() = %v; want 404", err)
	}
}

// TestTransitions tries every operation in every state that it is not for.
func TestTransitions(t *testing.T) {
	n := newFakeNode(t)
	n.create(web("a"))
	ops := map[string]func(context.Context, string) error{
		"delete": n.m.Delete,
		"console": func(ctx context.Context, name string) error {
			c, err := n.m.Console(ctx, name)
			if err == nil {
				c.Close()
			}
			return err
		},
	}
	for name, do := range map[string]func(context.Context, string) (api.VM, error){
		"start": n.m.Start, "stop": n.m.Stop, "shutdown": n.m.Shutdown, "reset": n.m.Reset, "pause": n.m.Pause, "resume": n.m.Resume,
	} {
		ops[name] = func(ctx context.Context, vm string) error { _, err := do(ctx, vm); return err }
	}
	for name := range transitions {
		if ops[name] == nil {
			t.Fatalf("operation %s is not tested", name)
		}
	}
	v, err := n.m.find("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []api.State{api.Shutoff, api.Running, api.Paused, api.Shutdown, api.Crashed, deleted} {
		v.mu.Lock()
		v.state = s
		v.mu.Unlock()
		for name, do := range ops {
			allowed := false
			for _, ok := range transitions[name] {
				allowed = allowed || ok == s
			}
			if allowed {
				continue
			}
			if err := do(t.Context(), "a"); status(err) != http.StatusConflict {
				t.Errorf("%s in state %s = %v; want 409", name, s, err)
			}
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*spec.VM)
		status int
		want   string
	}{
		{"name taken", func(d *spec.VM) { d.Name = "taken" }, 409, "the name is taken"},
		{"memory", func(d *spec.VM) { d.Memory = 8 << 40 }, 422, "more than the node's"},
		{"too many CPUs", func(d *spec.VM) { d.CPUs = -1 }, 422, "cpus"},
		{"no such medium", func(d *spec.VM) { d.Disks[1].Volume = "local/nonesuch.iso" }, 422, "its media are initrd, tools.iso, vmlinuz"},
		{"no such kernel", func(d *spec.VM) { d.Kernel.Image = "local/nonesuch" }, 422, "kernel.image: local/nonesuch"},
		{"no such bridge", func(d *spec.VM) { d.NICs[1].Bridge = "wan" }, 422, "nics[1].bridge: wan: this node has no such bridge; its bridges are lan"},
		{"pair held", func(d *spec.VM) {
			d.Security = spec.Security{Mode: "static", Label: "system_u:system_r:svirt_t:s0:c1,c2"}
		}, 409, "held by VM taken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNode(t)
			taken := web("taken")
			taken.Security = spec.Security{Mode: "static", Label: "system_u:system_r:svirt_t:s0:c1,c2"}
			n.create(taken)
			doc := web("new")
			c.change(&doc)
			_, err := n.m.Create(t.Context(), doc)
			if err == nil || status(err) != c.status || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Create() = %d %v; want %d with %q", status(err), err, c.status, c.want)
			}
			list, _ := n.m.List(t.Context())
			if dirs, _ := os.ReadDir(n.m.paths.VMs); len(list) != 1 || len(dirs) != 1 {
				t.Errorf("a refused document changed something: %v, %v", list, dirs)
			}
		})
	}
}

// TestStartLeavesNothing: whatever fails in a start, all is as before, and the
// next start works.
func TestStartLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name             string
		how, label, fail string
		before           func(*testing.T, *fakeNode)
		after            func(*fakeNode)
		status           int
		want             string
	}{
		{name: "no KVM", status: 422, want: "accelerator: tcg",
			before: func(_ *testing.T, n *fakeNode) { os.Remove(n.m.paths.KVM) },
			after:  func(n *fakeNode) { os.WriteFile(n.m.paths.KVM, nil, 0o600) }},
		{name: "directory held", status: 409, want: "held by VM other",
			before: func(t *testing.T, n *fakeNode) {
				other := web("other")
				other.Disks = []spec.Disk{{Volume: "nfs://192.0.2.1/exports/web-1/other.qcow2"}}
				n.create(other)
				n.start("other")
			},
			after: func(n *fakeNode) { n.m.Stop(context.Background(), "other") }},
		{name: "medium", fail: "media initrd", status: 500, want: "media initrd fails"},
		{name: "medium gone", status: 422, want: "this node has no such file",
			before: func(_ *testing.T, n *fakeNode) { os.Remove(filepath.Join(n.m.paths.Media, "tools.iso")) },
			after:  func(n *fakeNode) { os.WriteFile(filepath.Join(n.m.paths.Media, "tools.iso"), nil, 0o600) }},
		{name: "second tap", fail: "tap 1", status: 500, want: "nics[1]"},
		{name: "first socket", fail: "socket 1", status: 500, want: "socket 1 fails"},
		{name: "second socket", fail: "socket 2", status: 500, want: "socket 2 fails"},
		{name: "cgroup", fail: "cgroup", status: 500, want: "cgroup"},
		{name: "vmexec", how: "report bind", status: 500, want: "as the test wants it"},
		{name: "volume missing", how: "report open volume", status: 422, want: "no such file: make it with"},
		{name: "server gone", how: "report mount volume", status: 422, want: "as the test wants it"},
		{name: "QEMU dies", how: "dies", status: 500, want: "this is how it dies"},
		{name: "no QMP", how: "silent", status: 500, want: "not ready in time",
			before: func(_ *testing.T, n *fakeNode) { n.m.times.Start = time.Second },
			after:  func(n *fakeNode) { n.m.times.Start = 10 * time.Second }},
		{name: "wrong label", label: "system_u:system_r:vmhost_t:s0", status: 500, want: `has the label "system_u:system_r:vmhost_t:s0" instead of`},
		{name: "record", status: 500, want: "record",
			before: func(_ *testing.T, n *fakeNode) {
				os.Mkdir(filepath.Join(n.m.paths.VMs, "web-1", "record.json.new"), 0o700)
			},
			after: func(n *fakeNode) { os.Remove(filepath.Join(n.m.paths.VMs, "web-1", "record.json.new")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNode(t)
			n.create(web("web-1"))
			if c.before != nil {
				c.before(t, n)
			}
			before, files := n.left(), openFiles()
			if c.how == "" {
				c.how = "ok"
			}
			n.set(c.how, c.label, c.fail)
			_, err := n.m.Start(t.Context(), "web-1")
			if err == nil || status(err) != c.status || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Start() = %d %v; want %d with %q", status(err), err, c.status, c.want)
			}
			if d := cmp.Diff(before, n.left()); d != "" {
				t.Errorf("left by a failed start:\n%s", d)
			}
			if after := openFiles(); len(after) > len(files) {
				t.Errorf("descriptors left by a failed start: %v; before: %v", after, files)
			}
			if vm, _ := n.m.Get(t.Context(), "web-1"); vm.Status.State != api.Shutoff || vm.Status.PID != 0 {
				t.Errorf("after a failed start: %+v; want shutoff", vm.Status)
			}
			n.set("ok", "", "")
			if c.after != nil {
				c.after(n)
			}
			n.start("web-1")
		})
	}
}

func TestEnds(t *testing.T) {
	for _, c := range []struct {
		how    string
		do     func(*Manager) error
		state  api.State
		reason string
	}{
		{"acpi", func(m *Manager) error { _, err := m.Shutdown(context.Background(), "a"); return err }, api.Shutoff, ""},
		{"panics", func(m *Manager) error { _, err := m.Reset(context.Background(), "a"); return err }, api.Crashed, "the guest panicked"},
		{"crashes", func(m *Manager) error { _, err := m.Reset(context.Background(), "a"); return err }, api.Crashed, "QEMU: exit status 134: qemu: assertion failed"},
		{"ok", func(m *Manager) error { v, _ := m.find("a"); r, _, _ := v.current(); return r.proc.Kill() }, api.Crashed, "QEMU: killed by SIGKILL"},
		{"stubborn", func(m *Manager) error { _, err := m.Stop(context.Background(), "a"); return err }, api.Shutoff, ""},
	} {
		t.Run(c.how, func(t *testing.T) {
			n := newFakeNode(t)
			n.set(c.how, "", "")
			n.create(web("a"))
			n.start("a")
			if err := c.do(n.m); err != nil {
				t.Fatal(err)
			}
			if vm := n.wantState("a", c.state); vm.Status.Reason != c.reason {
				t.Errorf("reason %q; want %q", vm.Status.Reason, c.reason)
			}
			if left := n.left(); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			n.set("ok", "", "")
			n.start("a")
		})
	}
}

func TestStopWhileStarting(t *testing.T) {
	n := newFakeNode(t)
	n.set("silent", "", "")
	n.create(web("a"))
	failed := make(chan error, 1)
	go func() {
		_, err := n.m.Start(context.Background(), "a")
		failed <- err
	}()
	v, _ := n.m.find("a")
	for range 500 {
		v.mu.Lock()
		starting := v.abort != nil
		v.mu.Unlock()
		if starting {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	vm, err := n.m.Stop(t.Context(), "a")
	if err != nil || vm.Status.State != api.Shutoff {
		t.Errorf("Stop() while starting = %s, %v; want shutoff", vm.Status.State, err)
	}
	if err := <-failed; !errors.Is(err, errAborted) {
		t.Errorf("Start() that was stopped = %v; want %v", err, errAborted)
	}
	if left := n.left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestMonitorLost: a broken QMP connection is made again, the VM runs on.
func TestMonitorLost(t *testing.T) {
	n := newFakeNode(t)
	n.set("hangs up", "", "")
	n.create(web("a"))
	pid := n.start("a").Status.PID
	if _, err := n.m.Reset(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 50 {
		if _, err = n.m.Pause(t.Context(), "a"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("Pause() after a lost connection = %v; want it to work again", err)
	}
	if vm := n.wantState("a", api.Paused); vm.Status.PID != pid {
		t.Errorf("pid %d; want %d", vm.Status.PID, pid)
	}
}

func TestConsole(t *testing.T) {
	n := newFakeNode(t)
	n.create(web("a"))
	n.start("a")
	var all []io.ReadWriteCloser
	for range 2 {
		c, err := n.m.Console(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if _, err := all[0].Write([]byte("ping\n")); err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		var got strings.Builder
		buf := make([]byte, 3)
		for !strings.Contains(got.String(), "ping\n") {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatalf("client %d: %v after %q", i, err, got.String())
			}
			got.Write(buf[:k])
		}
		if !strings.HasPrefix(got.String(), "hello from the guest\r\n") {
			t.Errorf("client %d reads %q; want the guest's greeting first", i, got.String())
		}
	}
	all[0].Close()
	if _, err := all[0].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read() after Close() = %v; want EOF", err)
	}
	if _, err := n.m.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := all[1].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read() after the VM's end = %v; want EOF", err)
	}
}

func TestShutdownAll(t *testing.T) {
	n := newFakeNode(t)
	n.create(web("good"))
	n.create(web("deaf"))
	n.create(web("off"))
	n.set("acpi", "", "")
	n.start("good")
	n.set("ok", "", "")
	n.start("deaf")
	n.m.ShutdownAll(time.Second)
	for _, name := range []string{"good", "deaf", "off"} {
		n.wantState(name, api.Shutoff)
	}
	if left := n.left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
