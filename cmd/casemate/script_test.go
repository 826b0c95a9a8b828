package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casemate/cmd/casemate-node/gateway"
	"casemate/cmd/casemate/pki"
	"casemate/vmhost/api"
	"casemate/vmhost/api/apitest"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"casemate": main})
}

// TestScripts runs testdata/script. In each there is a node of its own, with
// the true gateway and API over a Manager in memory: $ADDRESS, and the PKI pki
// of a node called node-1. $CASEMATE_CONFIG does not exist yet.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("CASEMATE_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
			env.Setenv("CASEMATE_CONTEXT", "")
			folder := filepath.Join(env.WorkDir, "pki")
			if err := pki.Init(folder, time.Now(), "node-1", nil); err != nil {
				return err
			}
			address, stop, err := serveNode(folder)
			if err != nil {
				return err
			}
			env.Defer(stop)
			env.Setenv("ADDRESS", address)
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func serveNode(folder string) (address string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "node") // a script's own path is too long for a socket
	if err != nil {
		return "", nil, err
	}
	for from, to := range map[string]string{"ca.crt": "ca.crt", "node.crt": "tls.crt", "node.key": "tls.key"} {
		if err := os.Symlink(filepath.Join(folder, from), filepath.Join(dir, to)); err != nil {
			return "", nil, err
		}
	}
	socket := filepath.Join(dir, "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: api.NewServer(&apitest.Fake{Log: "one\ntwo\n"})}
	go func() { _ = srv.Serve(l) }()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- gateway.Run(ctx, gateway.Config{Dir: dir, Socket: socket, Listen: "127.0.0.1:0"}, func(a net.Addr) error {
			ready <- a.String()
			return nil
		})
	}()
	stop = func() {
		cancel()
		_ = srv.Close()
		_ = os.RemoveAll(dir)
	}
	select {
	case address = <-ready:
		return address, stop, nil
	case err := <-done:
		stop()
		return "", nil, fmt.Errorf("gateway: %w", err)
	}
}

func TestUntilEscape(t *testing.T) {
	for _, c := range []struct {
		chunks []string
		want   string
	}{
		{[]string{"ls\n"}, "ls\n"},
		{[]string{"a", "b\x1dc", "d"}, "ab"},
		{[]string{"\x1d"}, ""},
		{[]string{"a\x1d"}, "a"},
	} {
		var got strings.Builder
		u := &untilEscape{r: &chunked{c.chunks}}
		b := make([]byte, 16)
		for {
			n, err := u.Read(b)
			got.Write(b[:n])
			if err != nil {
				if want := strings.Contains(strings.Join(c.chunks, ""), "\x1d"); (err == errEscaped) != want {
					t.Errorf("%q ended with %v; want escaped %v", c.chunks, err, want)
				}
				break
			}
		}
		if got.String() != c.want {
			t.Errorf("%q passes %q; want %q", c.chunks, got.String(), c.want)
		}
	}
}

// chunked gives one string a read.
type chunked struct{ chunks []string }

func (c *chunked) Read(b []byte) (int, error) {
	if len(c.chunks) == 0 {
		return 0, os.ErrClosed
	}
	n := copy(b, c.chunks[0])
	c.chunks = c.chunks[1:]
	return n, nil
}
