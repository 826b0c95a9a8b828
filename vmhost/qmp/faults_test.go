package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// These tests are the faults of go-qemu's own transport, one each.

func TestEventBeforeReplyToConnect(t *testing.T) {
	m, _ := startRaw(t, func(f *fake) {
		f.send(greetingLine)
		r := f.receive()
		f.send(eventLine)
		f.reply(r, `{}`)
		f.wait()
	})
	if got := m.Version().String(); got != "10.0.13" {
		t.Errorf("Version() = %s; want 10.0.13", got)
	}
}

func TestDialEndsWithContext(t *testing.T) {
	for name, line := range map[string]string{"no greeting": "", "no reply": greetingLine + "\n"} {
		t.Run(name, func(t *testing.T) {
			path, ln, _ := listen(t)
			go func() {
				if conn, err := ln.Accept(); err == nil {
					conn.Write([]byte(line))
					io.Copy(io.Discard, conn)
				}
			}()
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			_, err := Dial(ctx, path)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), path) {
				t.Errorf("Dial = %v; want deadline exceeded, with %s", err, path)
			}
		})
	}
}

func TestExecuteEndsWithContext(t *testing.T) {
	m, ctx := start(t, func(f *fake) {
		late := f.receive()
		next := f.receive()
		f.reply(late, `"late"`)
		f.reply(next, `"next"`)
		f.wait()
	})
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := m.Execute(short, "slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Execute(slow) = %v; want deadline exceeded", err)
	}
	var got string
	if err := m.Execute(ctx, "quick", nil, &got); err != nil || got != "next" {
		t.Errorf("Execute after a timeout = %q, %v; want next", got, err)
	}
}

func TestPeerThatDoesNotRead(t *testing.T) {
	m, ctx := start(t, func(f *fake) { <-time.After(time.Second) })
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	args := map[string]string{"a": strings.Repeat("x", 1<<20)}
	if err := m.Execute(short, "big", args, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Execute = %v; want deadline exceeded", err)
	}
	// Half a command is out: the session cannot go on.
	if m.Err() == nil {
		t.Error("Err() = nil after half a command")
	}
}

func TestLargeReply(t *testing.T) {
	value := `"` + strings.Repeat("x", 900<<10) + `"`
	m, ctx := start(t, func(f *fake) {
		f.reply(f.receive(), value)
		f.reply(f.receive(), value)
		f.reply(f.receive(), `[`+value+`,`+value+`]`)
		f.reply(f.receive(), `[`+value+`,`+value+`]`)
		f.wait()
	})
	var s string
	if err := m.Execute(ctx, "c", nil, &s); err != nil || len(s) != 900<<10 {
		t.Errorf("Execute = %d bytes, %v; want %d", len(s), err, 900<<10)
	}
	if b, err := m.Run([]byte(`{"execute":"c"}`)); err != nil || len(b) < len(value) {
		t.Errorf("Run = %d bytes, %v; want more than %d", len(b), err, len(value))
	}
	var list []string
	if err := m.Execute(ctx, "c", nil, &list); err == nil || !strings.Contains(err.Error(), "over the limit") {
		t.Errorf("Execute beyond MaxDecode = %v; want over the limit", err)
	}
	var raw json.RawMessage
	if err := m.Execute(ctx, "c", nil, &raw); err != nil || len(raw) < MaxDecode {
		t.Errorf("Execute into RawMessage = %d bytes, %v", len(raw), err)
	}
}

func TestEventsNobodyReads(t *testing.T) {
	const sent = 3 * EventBacklog
	m, ctx := start(t, func(f *fake) {
		r := f.receive()
		for i := range sent {
			f.send(fmt.Sprintf(`{"timestamp": {"seconds": %d, "microseconds": 0}, "event": "E"}`, i))
		}
		f.reply(r, `{}`)
		f.wait()
	})
	events, err := m.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Execute(ctx, "c", nil, nil); err != nil {
		t.Fatalf("Execute behind unread events = %v", err)
	}
	if got := m.Dropped(); got != sent-EventBacklog {
		t.Errorf("Dropped() = %d; want %d", got, sent-EventBacklog)
	}
	if e := <-events; e.Timestamp.Seconds != sent-EventBacklog {
		t.Errorf("oldest event left = %d; want %d", e.Timestamp.Seconds, sent-EventBacklog)
	}
}

// TestConcurrent holds replies apart that come in reverse order, between
// events; under -race it also watches the buffers.
func TestConcurrent(t *testing.T) {
	const n = 20
	m, ctx := start(t, func(f *fake) {
		rs := make([]struct{ Execute, ID string }, n)
		for i := range rs {
			rs[i] = f.receive()
		}
		for i := n - 1; i >= 0; i-- {
			f.send(eventLine)
			f.reply(rs[i], fmt.Sprintf("%q", rs[i].Execute))
		}
		f.wait()
	})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			want := fmt.Sprintf("command-%d", i)
			var got string
			if err := m.Execute(ctx, want, nil, &got); err != nil || got != want {
				t.Errorf("Execute(%s) = %q, %v", want, got, err)
			}
		})
	}
	wg.Wait()
}
