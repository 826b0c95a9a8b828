package vmhost

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"

	"casemate/vmhost/api"
)

func TestLogs(t *testing.T) {
	n := newFakeNode(t)
	log := n.m.paths.Log
	write := func(path, text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(text)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(log+".1", "old\n")
	write(log, "one\n")
	var plain syncBuffer
	if err := n.m.Logs(t.Context(), &plain, false); err != nil || plain.String() != "old\none\n" {
		t.Errorf("Logs() = %q, %v; want both files", plain.String(), err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var followed syncBuffer
	done := make(chan error, 1)
	go func() { done <- n.m.Logs(ctx, &followed, true) }()
	want := func(text string) {
		t.Helper()
		for range 500 {
			if followed.String() == text {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("followed %q; want %q", followed.String(), text)
	}
	want("old\none\n")
	write(log, "two\n")
	want("old\none\ntwo\n")
	write(log, "three\n")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	write(log, "four\n")
	want("old\none\ntwo\nthree\nfour\n")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Logs() after its context's end = %v; want nil", err)
	}
}

func TestTail(t *testing.T) {
	var handed []string
	tl := newTail(func(s string) { handed = append(handed, s) })
	tl.Write([]byte("a\r\nb"))
	tl.Write([]byte("c\n\nunfinished"))
	if got, want := tl.Last(), "a; bc; unfinished"; got != want {
		t.Errorf("Last() = %q; want %q", got, want)
	}
	long := strings.Repeat("x", 10*tailLine) + "\n"
	for range 2 * tailHandOn / tailLine {
		tl.Write([]byte(long))
	}
	if len(tl.lines) > tailLines || len(tl.lines[0]) > tailLine {
		t.Errorf("keeps %d lines of %d bytes; want at most %d of %d", len(tl.lines), len(tl.lines[0]), tailLines, tailLine)
	}
	if n := len(handed); handed[n-1] != tailSilence || n > tailHandOn/tailLine+10 {
		t.Errorf("handed on %d lines, the last %q; want an end", n, handed[n-1])
	}
}

func TestSlowConsoleClient(t *testing.T) {
	c := newConsole()
	c.ring = make([]byte, 0, consoleRing)
	cl := &consoleClient{c: c, queue: make(chan []byte, consoleQueue)}
	c.clients[cl] = struct{}{}
	for range consoleQueue + 100 { // must not block
		c.output([]byte(strings.Repeat("x", 1000)))
	}
	if len(c.clients) != 0 {
		t.Error("a client that does not read is still attached")
	}
	if len(c.ring) != consoleRing {
		t.Errorf("ring of %d bytes; want %d", len(c.ring), consoleRing)
	}
}

func TestPower(t *testing.T) {
	n := newFakeNode(t)
	if err := n.m.Power(t.Context(), "explode"); status(err) != 422 {
		t.Errorf("Power(explode) = %v; want 422", err)
	}
	got := make(chan os.Signal, 2)
	signal.Notify(got, syscall.SIGUSR2, syscall.SIGINT)
	defer signal.Stop(got)
	for action, want := range map[api.PowerAction]os.Signal{api.PowerOff: syscall.SIGUSR2, api.Reboot: syscall.SIGINT} {
		if err := n.m.Power(t.Context(), action); err != nil {
			t.Fatal(err)
		}
		if sig := <-got; sig != want {
			t.Errorf("Power(%s) sends %v; want %v", action, sig, want)
		}
	}
}

// FuzzEvent: QEMU may be the guest's. No event of it breaks the manager or
// makes a state that there is not.
func FuzzEvent(f *testing.F) {
	for _, e := range []string{
		`{"event":"STOP"}`, `{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-panic"}}`,
		`{"event":"SHUTDOWN","data":{"guest":"yes","reason":7}}`, `{"event":"RESET","data":null}`,
		`{"event":"BLOCK_IO_ERROR","data":{"node-name":"\u0000\n","operation":{},"reason":"x"}}`, `{"event":"RESUME"}`,
	} {
		f.Add([]byte(e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e goqemu.Event
		if json.Unmarshal(b, &e) != nil {
			return
		}
		for _, s := range []api.State{api.Running, api.Paused, api.Shutdown} {
			v := &vm{state: s}
			v.apply(&run{}, e)
			if v.state != api.Running && v.state != api.Paused && v.state != api.Shutdown {
				t.Errorf("event %q made state %q of %q", b, v.state, s)
			}
			if len(v.reason) > 4096 || strings.ContainsAny(v.reason, "\n\x00") {
				t.Errorf("event %q made the reason %q", b, v.reason)
			}
		}
	})
}
