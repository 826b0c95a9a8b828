package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// journal collects what is logged.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func TestPhasesRunInOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	done := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, name)
	}
	// a and b can only end if they run side by side.
	meet := make(chan struct{})
	err := runPhases(context.Background(), []Phase{
		{"one", []Task{
			{"a", func(context.Context) error { meet <- struct{}{}; done("a/b"); return nil }, true},
			{"b", func(context.Context) error { <-meet; return nil }, true},
		}},
		{"two", []Task{{"c", func(context.Context) error { done("c"); return nil }, true}}},
	}, (&journal{}).logf)
	if err != nil || !slices.Equal(order, []string{"a/b", "c"}) {
		t.Errorf("runPhases = %v, ran %q; want nil, [a/b c]", err, order)
	}
}

func TestPhaseErrors(t *testing.T) {
	var j journal
	broken := errors.New("mount tmpfs on /run: no such device")
	ran := false
	err := runPhases(context.Background(), []Phase{
		{"soft", []Task{{"media", func(context.Context) error { return errors.New("no such file") }, false}}},
		{"hard", []Task{
			{"mounts", func(context.Context) error { return broken }, true},
			{"audit", func(context.Context) error { return nil }, true},
		}},
		{"never", []Task{{"x", func(context.Context) error { ran = true; return nil }, true}}},
	}, j.logf)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "phase hard: mounts: ") {
		t.Errorf("runPhases = %v; want %v, with phase and task", err, broken)
	}
	if ran {
		t.Error("the phase after a failed one ran")
	}
	for _, want := range []string{"phase soft: media: FAILED: no such file", "phase soft: ", "phase hard: "} {
		if !strings.Contains(j.String(), want) {
			t.Errorf("log = %q; want it to have %q", j.String(), want)
		}
	}
}

func TestPhasesStopWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	err := runPhases(ctx, []Phase{
		{"one", []Task{{"a", func(context.Context) error { cancel(); return nil }, true}}},
		{"two", []Task{{"b", func(context.Context) error { t.Error("ran after the end"); return nil }, true}}},
	}, (&journal{}).logf)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("runPhases = %v; want %v", err, context.Canceled)
	}
}

func TestBackground(t *testing.T) {
	release, broken := make(chan struct{}), errors.New("broken")
	wait := background(context.Background(), func(context.Context) error { <-release; return broken })
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := wait(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("wait with an ended context = %v; want %v", err, context.Canceled)
	}
	close(release)
	for range 2 { // more than one may wait
		if err := wait(context.Background()); err != broken {
			t.Errorf("wait = %v; want %v", err, broken)
		}
	}
}

func TestCreate(t *testing.T) {
	base := t.TempDir()
	list := []creator{
		dir{base + "/a", 0o750, 0, ""},
		dir{base + "/a/b", 0o755, 0, ""},
		setting{base + "/a/none", "1"},
		dir{base + "/c", 0o755, 0, ""},
	}
	err := create(list)
	if err == nil || !strings.Contains(err.Error(), `write "1" to `+base+"/a/none") {
		t.Errorf("create = %v; want an error that names the operation and the file", err)
	}
	if err := create(list[:2]); err != nil {
		t.Errorf("create of what is there already = %v; want nil", err)
	}
}

// The list is a specification: each mount point is made before it is used, and
// everything below /run and /var comes after its mount.
func TestFileSystems(t *testing.T) {
	root := map[string]bool{"/run": true, "/tmp": true, "/var": true, cgroupDir: true} // in the image, or the kernel's
	made := map[string]bool{}
	mounted := map[string]bool{}
	for _, c := range fileSystems {
		switch c := c.(type) {
		case mount:
			if !root[c.path] && !made[c.path] {
				t.Errorf("%v: nobody makes its mount point", c)
			}
			for path := range made {
				if strings.HasPrefix(path, c.path+"/") {
					t.Errorf("%v hides %s", c, path)
				}
			}
			mounted[c.path] = true
		case dir:
			parent := c.path[:strings.LastIndex(c.path, "/")]
			if !made[parent] && !mounted[parent] {
				t.Errorf("%v: nobody makes %s", c, parent)
			}
			made[c.path] = true
		}
	}
}
