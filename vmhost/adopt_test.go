package vmhost

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
)

// orphan makes what a manager leaves that dies while VM name runs: a record, a
// cgroup, and a process that answers on the sockets. No manager watches it.
func (n *fakeNode) orphan(name string) (api.VM, *qemu.Process) {
	n.t.Helper()
	dead := n.newManager()
	vm, err := dead.Create(n.t.Context(), web(name))
	if err != nil {
		n.t.Fatal(err)
	}
	v, _ := dead.find(name)
	p := dead.newPlan(v)
	defer p.close()
	if err := p.make(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	proc, err := n.launch(n.t.Context(), p.chamber, p.files, nil, newTail(func(string) {}))
	if err != nil {
		n.t.Fatal(err)
	}
	n.Create(v.cgroup(), nil)
	n.Release(v.owner()) // labels held are in the dead manager's memory
	v.run = &run{proc: proc, dirs: p.dirs}
	if err := dead.save(v); err != nil {
		n.t.Fatal(err)
	}
	return vm, proc
}

func TestAdopt(t *testing.T) {
	n := newFakeNode(t)
	made, proc := n.orphan("web-1")
	n.create(web("idle")) // by n.m: this definition has no run
	idle, _ := n.m.Get(t.Context(), "idle")
	n.Create("vm-nobodys", nil)

	n.m = n.newManager()
	if err := n.m.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	vm := n.wantState("web-1", api.Running)
	if vm.Status.PID != proc.PID || vm.Status.Level != made.Status.Level || vm.Status.UID != made.Status.UID {
		t.Errorf("adopted %+v; want pid %d, level %s, uid %d", vm.Status, proc.PID, made.Status.Level, made.Status.UID)
	}
	if got, err := n.m.Get(t.Context(), "idle"); err != nil || got.Status.Level != idle.Status.Level || got.Status.State != api.Shutoff {
		t.Errorf("definition after restart: %+v, %v; want shutoff with level %s", got.Status, err, idle.Status.Level)
	}
	if _, err := n.m.Create(t.Context(), web("web-1")); status(err) != 409 {
		t.Errorf("Create() of an adopted name = %v; want 409", err)
	}
	if n.groups["vm-nobodys"] || !n.groups["vm-web-1"] {
		t.Errorf("cgroups after adoption: %v; want the VM's and no other", n.groups)
	}
	if held := n.held["VM web-1"]; len(held) != 3 {
		t.Errorf("media held by the adopted VM: %v; want all three", held)
	}
	thief := web("thief")
	thief.Disks[0].Volume = "nfs://192.0.2.1/exports/web-1/other.qcow2"
	n.create(thief)
	if _, err := n.m.Start(t.Context(), "thief"); status(err) != 409 {
		t.Errorf("Start() with an adopted VM's directory = %v; want 409", err)
	}
	if _, err := n.m.Pause(t.Context(), "web-1"); err != nil {
		t.Error(err)
	}
	if _, err := n.m.Stop(t.Context(), "web-1"); err != nil {
		t.Error(err)
	}
	<-proc.Done() // as its parent sees it, which is us: a moment after its end
	if left := n.left(); len(left) != 0 {
		t.Errorf("left after stopping the adopted VM: %v", left)
	}
	n.start("web-1")
}

// TestAdoptRefuses: what is not exactly the recorded process is not adopted.
func TestAdoptRefuses(t *testing.T) {
	edit := func(t *testing.T, n *fakeNode, change func(*record)) {
		path := filepath.Join(n.m.paths.VMs, "a", recordName)
		b, err := os.ReadFile(path)
		var rec record
		if err == nil {
			err = json.Unmarshal(b, &rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		change(&rec)
		if b, err = json.Marshal(rec); err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, *fakeNode)
		killed bool
		reason string
	}{
		{"label differs", func(_ *testing.T, n *fakeNode) { n.set("ok", "system_u:system_r:svirt_t:s0:c1,c2", "") }, true, "has the label"},
		{"start time differs", func(t *testing.T, n *fakeNode) { edit(t, n, func(r *record) { r.Run.StartTime++ }) }, false, "is not the one that was recorded"},
		{"process gone", func(_ *testing.T, n *fakeNode) { n.procs[0].Kill(); <-n.procs[0].Done() }, false, "ended while no manager ran"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNode(t)
			_, proc := n.orphan("a")
			c.change(t, n)
			n.m = n.newManager()
			if err := n.m.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
			vm, _ := n.m.Get(t.Context(), "a")
			if vm.Status.State != api.Crashed || !strings.Contains(vm.Status.Reason, c.reason) {
				t.Errorf("adopted as %s (%s); want crashed with %q", vm.Status.State, vm.Status.Reason, c.reason)
			}
			if c.killed {
				select {
				case <-proc.Done():
				case <-time.After(10 * time.Second):
					t.Error("a process with another label lives on")
				}
			}
			if n.groups["vm-a"] {
				t.Error("its cgroup is still there: its processes were not ended")
			}
			n.set("ok", "", "")
			n.start("a")
		})
	}
}

func TestAdoptBrokenRecord(t *testing.T) {
	n := newFakeNode(t)
	n.create(web("good"))
	for name, content := range map[string]string{"broken": "{", "other": `{"document":{"name":"good"}}`} {
		dir := filepath.Join(n.m.paths.VMs, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, recordName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.m = n.newManager()
	if err := n.m.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, _ := n.m.List(t.Context()); len(list) != 1 || list[0].Name != "good" {
		t.Errorf("List() = %v; want the one VM whose record is whole", list)
	}
}
