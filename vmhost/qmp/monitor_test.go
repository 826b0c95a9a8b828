package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-qemu/qemu"
	"golang.org/x/sys/unix"
)

func TestReplyOfEarlierSession(t *testing.T) {
	m, ctx := startRaw(t, func(f *fake) {
		f.send(`{"return": {}, "id": "cm-000000000000-1"}`)
		f.send(greetingLine)
		f.reply(f.receive(), `{}`)
		f.send(`{"return": "old", "id": "cm-000000000000-2"}`)
		f.reply(f.receive(), `"new"`)
		f.wait()
	})
	var got string
	if err := m.Execute(ctx, "c", nil, &got); err != nil || got != "new" {
		t.Errorf("Execute = %q, %v; want new", got, err)
	}
}

func TestError(t *testing.T) {
	m, ctx := start(t, func(f *fake) {
		r := f.receive()
		f.send(fmt.Sprintf(`{"id": %q, "error": {"class": "CommandNotFound", "desc": "nope\nforged: line"}}`, r.ID))
		f.wait()
	})
	err := m.Execute(ctx, "frobnicate", nil, nil)
	var qe *Error
	if !errors.As(err, &qe) || qe.Class != "CommandNotFound" || qe.Command != "frobnicate" {
		t.Fatalf("Execute = %#v; want *Error CommandNotFound of frobnicate", err)
	}
	if want := "QMP frobnicate: nope?forged: line (CommandNotFound)"; err.Error() != want {
		t.Errorf("error = %q; want %q", err, want)
	}
}

func TestPeerCloses(t *testing.T) {
	m, ctx := start(t, func(f *fake) { f.receive() })
	events, err := m.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Execute(ctx, "c", nil, nil); !errors.Is(err, io.EOF) {
		t.Errorf("Execute = %v; want io.EOF", err)
	}
	<-m.Done()
	if _, ok := <-events; ok {
		t.Error("event channel is open after the end")
	}
	if err := m.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("Err() = %v; want io.EOF", err)
	}
	if _, err := m.Events(ctx); err == nil {
		t.Error("Events after the end = nil error")
	}
	if err := m.Execute(ctx, "c", nil, nil); err == nil {
		t.Error("Execute after the end = nil error")
	}
}

func TestBadPeerEndsSession(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON":        `hello`,
		"reply sans id":  `{"return": {}}`,
		"id of a number": `{"return": {}, "id": 1}`,
		"two kinds":      `{"return": {}, "event": "E", "id": "x"}`,
		"nothing":        `{}`,
		"list":           `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			m, ctx := start(t, func(f *fake) { f.receive(); f.send(line); f.wait() })
			if err := m.Execute(ctx, "c", nil, nil); err == nil || ctx.Err() != nil {
				t.Errorf("Execute = %v; want the session's end", err)
			}
		})
	}
}

func TestEndlessMessage(t *testing.T) {
	m, ctx := start(t, func(f *fake) {
		junk := make([]byte, 1<<20)
		for {
			if _, err := f.conn.Write(junk); err != nil {
				return
			}
		}
	})
	select {
	case <-m.Done():
		if !errors.Is(m.Err(), errTooLong) {
			t.Errorf("Err() = %v; want %v", m.Err(), errTooLong)
		}
	case <-ctx.Done():
		t.Error("session goes on after an endless message")
	}
}

func TestEventFloodIsThrottled(t *testing.T) {
	total := make(chan int, 1)
	m, ctx := start(t, func(f *fake) {
		for sent := 0; ; sent++ {
			if _, err := f.conn.Write([]byte(eventLine + "\n")); err != nil {
				total <- sent
				return
			}
		}
	})
	events, _ := m.Events(ctx)
	<-events
	time.Sleep(250 * time.Millisecond)
	m.Disconnect()
	for range events {
	}
	// Three periods of a budget and what the socket and the reader buffer; an
	// unthrottled reader takes about five times as many.
	sent, most := <-total, 4*throttleBytes/throttleEach+4000
	if t.Logf("%d events", sent); sent > most {
		t.Errorf("took %d events in 250 ms; want at most %d", sent, most)
	}
}

func TestEventsUnsubscribe(t *testing.T) {
	m, ctx := start(t, func(f *fake) {
		r := f.receive()
		f.send(eventLine)
		f.send(`{"event": "BIG", "data": {"x": "` + strings.Repeat("x", MaxEvent) + `"}}`)
		f.reply(r, `{}`)
		f.wait()
	})
	first, cancel := context.WithCancel(ctx)
	a, _ := m.Events(first)
	b, _ := m.Events(ctx)
	cancel()
	for range a { // ends because it is closed
	}
	if err := m.Execute(ctx, "c", nil, nil); err != nil {
		t.Fatal(err)
	}
	e := <-b
	if e.Event != "RESET" || e.Data["guest"] != true || e.Timestamp.Seconds != 7 {
		t.Errorf("event = %+v; want RESET", e)
	}
	if got := m.Dropped(); got != 1 { // BIG
		t.Errorf("Dropped() = %d; want 1", got)
	}
}

// TestExecuteFile passes a descriptor, to a QEMU that does not offer oob:
// go-qemu takes one for the other.
func TestExecuteFile(t *testing.T) {
	path, ln, ctx := listen(t)
	got := make(chan string, 1)
	go func() {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Write([]byte(greetingLine + "\n"))
		buf, oob := make([]byte, 4096), make([]byte, 128)
		reply := func(n int) {
			var r struct{ ID string }
			json.Unmarshal(buf[:n], &r)
			fmt.Fprintf(conn, `{"return": {}, "id": %q}`+"\n", r.ID)
		}
		n, _ := conn.Read(buf)
		reply(n)
		n, on, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			got <- err.Error()
			return
		}
		got <- received(oob[:on])
		reply(n)
		io.Copy(io.Discard, conn)
	}()
	m, err := Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Disconnect()
	file, err := os.CreateTemp(t.TempDir(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	file.WriteString("content")
	if err := m.ExecuteFile(ctx, "getfd", map[string]string{"fdname": "f"}, file, nil); err != nil {
		t.Errorf("ExecuteFile = %v", err)
	}
	if s := <-got; s != "content" {
		t.Errorf("peer read %q from the descriptor; want content", s)
	}
	file.Close()
	if err := m.ExecuteFile(ctx, "getfd", nil, file, nil); err == nil || m.Err() != nil {
		t.Errorf("ExecuteFile(closed file) = %v, session %v; want an error and a live session", err, m.Err())
	}
}

// received reads the file whose descriptor is in oob.
func received(oob []byte) string {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return fmt.Sprintf("%d control messages, %v", len(msgs), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return fmt.Sprintf("%d descriptors, %v", len(fds), err)
	}
	file := os.NewFile(uintptr(fds[0]), "received")
	defer file.Close()
	b := make([]byte, 100)
	n, _ := file.ReadAt(b, 0)
	return string(b[:n])
}

func TestRunRefusesWhatIsNoCommand(t *testing.T) {
	a, _ := net.Pipe()
	m := NewMonitor(a)
	defer m.Disconnect()
	for _, command := range []string{"", "null", "[]", "{}", `{"execute": 1}`, `{"execute": "x"`} {
		if _, err := m.Run([]byte(command)); err == nil {
			t.Errorf("Run(%s) = nil error", command)
		}
	}
}

func TestDomain(t *testing.T) {
	m, _ := start(t, func(f *fake) {
		f.reply(f.receive(), `{"status": "paused", "running": false}`)
		f.wait()
	})
	d, err := qemu.NewDomain(m, "web-1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, err := d.Status(); err != nil || got != qemu.StatusPaused {
		t.Errorf("Status() = %v, %v; want %v", got, err, qemu.StatusPaused)
	}
}
