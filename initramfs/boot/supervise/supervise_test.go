package supervise

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// One reaper for all tests: it takes every child of the test's process.
var (
	reaper  = &Reaper{Orphan: func(pid int, s Status) { orphans <- orphan{pid, s} }}
	orphans = make(chan orphan, 16)
)

type orphan struct {
	pid    int
	status Status
}

func TestMain(m *testing.M) {
	go reaper.Run(nil)
	os.Exit(m.Run())
}

const limit = 10 * time.Second

// shell gives a process that runs script, and what it writes.
func shell(t *testing.T, script string) (*Process, func() string) {
	t.Helper()
	var mu sync.Mutex
	var out strings.Builder
	p := &Process{
		Name: "test", Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
		Stop: unix.SIGTERM, StopTimeout: limit, Reaper: reaper,
		Output: func(r io.Reader) {
			b, _ := io.ReadAll(r)
			mu.Lock()
			defer mu.Unlock()
			out.Write(b)
		},
	}
	return p, func() string { mu.Lock(); defer mu.Unlock(); return out.String() }
}

func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(limit):
		t.Fatalf("%s: did not happen within %v", what, limit)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

func TestProcessEnds(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0": "<nil>", "exit 3": "exit status 3", "kill -9 $$": "killed by SIGKILL",
	} {
		p, _ := shell(t, script)
		if err := p.Run(context.Background(), func() {}); fmt.Sprint(err) != want {
			t.Errorf("Run(%q) = %v; want %v", script, err, want)
		}
	}
	p, _ := shell(t, "")
	p.Path = "/nonexistent/program"
	if err := p.Run(context.Background(), func() {}); err == nil || !strings.Contains(err.Error(), p.Path) {
		t.Errorf("Run of %s = %v; want an error that names it", p.Path, err)
	}
}

func TestProcessSurroundings(t *testing.T) {
	p, out := shell(t, `echo out; echo err >&2; echo NOTIFY_FD=$NOTIFY_FD; cat; id -u`)
	if err := p.Run(context.Background(), func() {}); err != nil {
		t.Fatalf("Run = %v", err)
	}
	// cat ends at once: standard input is /dev/null.
	want := "out\nerr\nNOTIFY_FD=3\n" + fmt.Sprint(os.Getuid()) + "\n"
	until(t, "output", func() bool { return out() != "" })
	if got := out(); got != want {
		t.Errorf("output = %q; want %q", got, want)
	}
}

func TestProcessReadyAndStop(t *testing.T) {
	p, _ := shell(t, `trap 'exit 7' TERM; echo ready >&3; exec 3>&-; while :; do sleep 0.01; done`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready, result := make(chan struct{}), make(chan error, 1)
	go func() { result <- p.Run(ctx, func() { close(ready) }) }()
	wait(t, "ready", ready)
	cancel()
	select {
	case err := <-result:
		if fmt.Sprint(err) != "exit status 7" {
			t.Errorf("Run after stop = %v; want exit status 7, from the trap", err)
		}
	case <-time.After(limit):
		t.Fatal("Run did not return after stop")
	}
}

func TestProcessKilledWhenDeaf(t *testing.T) {
	p, _ := shell(t, `trap '' TERM; echo ready >&3; while :; do sleep 0.01; done`)
	p.StopTimeout = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	err := p.Run(ctx, cancel) // stop as soon as the trap is set
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Run of a process that ignores SIGTERM = %v; want it killed", err)
	}
}

// A word other than ready, or a closed pipe, is not ready.
func TestProcessNotReady(t *testing.T) {
	p, _ := shell(t, `echo almost >&3; exec 3>&-; exit 0`)
	err := p.Run(context.Background(), func() { t.Error("ready was called") })
	if err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
}

func TestOrphanIsReaped(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skipf("become a subreaper, as PID 1 is: %v", err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	p, _ := shell(t, `(sleep 0.1; exit 5) & exit 0`)
	if err := p.Run(context.Background(), func() {}); err != nil {
		t.Fatalf("Run = %v", err)
	}
	select {
	case o := <-orphans:
		if o.status.String() != "exit status 5" {
			t.Errorf("orphan %d: %v; want exit status 5", o.pid, o.status)
		}
	case <-time.After(limit):
		t.Fatal("the orphan was not reaped")
	}
}

// Many short processes at once: each gets its own status.
func TestReaperKeepsThemApart(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, ended, err := reaper.Start(exec.Command("/bin/sh", "-c", fmt.Sprintf("exit %d", i)))
			if err != nil {
				t.Errorf("Start = %v", err)
				return
			}
			if got, want := (<-ended).String(), fmt.Sprintf("exit status %d", i); got != want {
				t.Errorf("process %d: %s; want %s", i, got, want)
			}
		})
	}
	wg.Wait()
}

func TestSignalAfterEnd(t *testing.T) {
	pid, ended, err := reaper.Start(exec.Command("/bin/true"))
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := reaper.Signal(pid, unix.SIGKILL); err != nil {
		t.Errorf("Signal to a process that was reaped = %v; want nil, and no signal to whoever has its number", err)
	}
}

var quick = Backoff{First: time.Millisecond, Max: 4 * time.Millisecond, Reset: time.Hour}

func TestServiceRestarts(t *testing.T) {
	dir := t.TempDir()
	// Fails twice, then is ready.
	p, _ := shell(t, fmt.Sprintf(`cd %s; if [ -e b ]; then echo ready >&3; exec sleep 60; elif [ -e a ]; then >b; else >a; fi; exit 1`, dir))
	var mu sync.Mutex
	var log []string
	s := New(p, quick, func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, fmt.Sprintf(format, args...))
	})
	if got := s.State(); got != Idle {
		t.Errorf("state before Start = %v; want idle", got)
	}
	s.Start()
	wait(t, "ready", s.Ready())
	if got := s.State(); got != Ready {
		t.Errorf("state = %v; want ready", got)
	}
	s.Stop()
	if got := s.State(); got != Stopped {
		t.Errorf("state after Stop = %v; want stopped", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(log) != 3 || !strings.Contains(log[0], "exit status 1; starting again in 1ms") ||
		!strings.Contains(log[1], "again in 2ms") || !strings.Contains(log[2], "killed by SIGTERM") {
		t.Errorf("log = %q; want two ends with growing delay, and the stop", log)
	}
}

func TestServiceStopWhileWaiting(t *testing.T) {
	p, _ := shell(t, `exit 1`)
	s := New(p, Backoff{First: time.Hour, Max: time.Hour, Reset: time.Hour}, t.Logf)
	s.Start()
	until(t, "waiting", func() bool { return s.State() == Waiting })
	s.Stop()
	if got := s.State(); got != Stopped {
		t.Errorf("state = %v; want stopped", got)
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: time.Second, Max: 5 * time.Second, Reset: time.Minute}
	var d time.Duration
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		if d = b.next(d, 0); d != want {
			t.Errorf("delay %d = %v; want %v", i, d, want)
		}
	}
	if d = b.next(d, time.Minute); d != time.Second {
		t.Errorf("delay after a minute up = %v; want %v", d, time.Second)
	}
}

func TestTransitions(t *testing.T) {
	for _, tt := range []struct {
		from, to State
		want     bool
	}{
		{Idle, Starting, true}, {Starting, Ready, true}, {Ready, Waiting, true}, {Waiting, Starting, true},
		{Ready, Stopped, true}, {Idle, Ready, false}, {Waiting, Ready, false}, {Ready, Starting, false},
		{Stopped, Starting, false}, {Stopped, Ready, false}, {Stopped, Stopped, false},
	} {
		if got := legal(tt.from, tt.to); got != tt.want {
			t.Errorf("legal(%v, %v) = %v; want %v", tt.from, tt.to, got, tt.want)
		}
	}
}
