package nodelog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func TestLine(t *testing.T) {
	var console buffer
	l := New(&console)
	l.Line("init", "before the file")
	path := filepath.Join(t.TempDir(), "node.log")
	if err := l.Open(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	l.Printf("vmhostd", "two\nlines %d", 2)
	l.Quiet("init", "audit: not on the console")
	l.Line("gateway", "\x1b[31mred\x1b[0m\r\n")
	l.Flush(time.Second)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const stamp = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z `
	want := regexp.MustCompile(`^` + stamp + `init: before the file\n` + stamp + `vmhostd: two\n` + stamp +
		`vmhostd: lines 2\n` + stamp + `init: audit: not on the console\n` + stamp + `gateway: \\x1b\[31mred\\x1b\[0m\n$`)
	if !want.Match(got) {
		t.Errorf("file = %q; want it to match %v", got, want)
	}
	wantConsole := "init: before the file\nvmhostd: two\nvmhostd: lines 2\ngateway: \\x1b[31mred\\x1b[0m\n"
	if console.String() != wantConsole {
		t.Errorf("console = %q; want %q", console.String(), wantConsole)
	}
}

func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.log")
	l := New()
	const max = 1000
	if err := l.Open(path, max); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		l.Printf("init", "line %03d", i)
	}
	for _, file := range []string{path, path + ".1"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > max {
			t.Errorf("%s has %d bytes; want at most %d", file, info.Size(), max)
		}
	}
	old, _ := os.ReadFile(path + ".1")
	now, _ := os.ReadFile(path)
	all := string(old) + string(now)
	if !strings.HasSuffix(all, "line 049\n") {
		t.Errorf("log ends with %q; want the last line", all[len(all)-30:])
	}
	// Nothing is lost between the two files.
	first := 50 - strings.Count(all, "\n")
	for i := first; i < 50; i++ {
		if !strings.Contains(all, fmt.Sprintf("line %03d\n", i)) {
			t.Errorf("line %03d is lost", i)
		}
	}
	if _, err := os.Stat(path + ".2"); err == nil {
		t.Error("a third file is there; want two at most")
	}
}

func TestCopy(t *testing.T) {
	var console buffer
	l := New(&console)
	l.Copy("vmhostd", strings.NewReader("a\n"+strings.Repeat("x", maxLine+10)+"\nlast"))
	l.Flush(time.Second)
	want := "vmhostd: a\nvmhostd: " + strings.Repeat("x", maxLine) + "\nvmhostd: xxxxxxxxxx\nvmhostd: last\n"
	if console.String() != want {
		t.Errorf("Copy wrote %d bytes; want %d", console.Len(), len(want))
	}
}

// blocked is a console whose other end reads nothing.
type blocked struct{ release chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.release; return len(p), nil }

func TestBlockedConsole(t *testing.T) {
	b := blocked{make(chan struct{})}
	defer close(b.release)
	l := New(b)
	path := filepath.Join(t.TempDir(), "node.log")
	if err := l.Open(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	for i := range queueLines + 100 {
		l.Printf("x", "%d", i)
	}
	start := time.Now()
	l.Flush(50 * time.Millisecond)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("Flush took %v; want about 50ms", d)
	}
	got, _ := os.ReadFile(path)
	if n := bytes.Count(got, []byte("\n")); n != queueLines+100 {
		t.Errorf("file has %d lines; want %d", n, queueLines+100)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("a\r\nb\x1b[0m\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, line := range lines(s) {
			if strings.IndexFunc(line, control) >= 0 {
				t.Errorf("lines(%q) lets a control character through: %q", s, line)
			}
		}
	})
}
