package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"
)

const (
	greetingLine = `{"QMP": {"version": {"qemu": {"micro": 13, "minor": 0, "major": 10}, "package": "Debian"}, "capabilities": []}}`
	eventLine    = `{"timestamp": {"seconds": 7, "microseconds": 9}, "event": "RESET", "data": {"guest": true}}`
)

// fake is the QEMU end of a QMP socket.
type fake struct {
	t    *testing.T
	conn *net.UnixConn
	in   *bufio.Scanner
}

// listen makes a socket and a client's context of ten seconds.
func listen(t *testing.T) (path string, ln *net.UnixListener, ctx context.Context) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "qmp.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return path, ln, ctx
}

// start connects a Monitor to a fake QEMU that runs script after the greeting
// and the negotiation.
func start(t *testing.T, script func(f *fake)) (*Monitor, context.Context) {
	t.Helper()
	return startRaw(t, func(f *fake) {
		f.send(greetingLine)
		f.reply(f.receive(), `{}`)
		script(f)
	})
}

func startRaw(t *testing.T, script func(f *fake)) (*Monitor, context.Context) {
	t.Helper()
	path, ln, ctx := listen(t)
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		script(&fake{t, conn, bufio.NewScanner(conn)})
	}()
	m, err := Dial(ctx, path)
	if err != nil {
		t.Fatalf("Dial(%s) = %v", path, err)
	}
	t.Cleanup(func() { m.Disconnect(); <-served })
	return m, ctx
}

// send writes one line. The client may be gone: that is for the test to see.
func (f *fake) send(line string) { f.conn.Write([]byte(line + "\r\n")) }

// receive returns the next command; its zero value at the end.
func (f *fake) receive() (r struct{ Execute, ID string }) {
	if f.in.Scan() {
		if err := json.Unmarshal(f.in.Bytes(), &r); err != nil {
			f.t.Errorf("client sent %q: %v", f.in.Bytes(), err)
		}
	}
	return r
}

func (f *fake) reply(r struct{ Execute, ID string }, value string) {
	f.send(fmt.Sprintf(`{"return": %s, "id": %q}`, value, r.ID))
}

// wait holds the connection open until the client closes it.
func (f *fake) wait() {
	for f.in.Scan() {
	}
}
