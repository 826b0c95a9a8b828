package api_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/api/apitest"
	"casemate/vmhost/spec"

	"github.com/coder/websocket"
)

func TestLogs(t *testing.T) {
	fake := &apitest.Fake{Log: "one\ntwo\n", Tail: make(chan string)}
	c := client(serve(t, fake), api.Viewer)
	var out strings.Builder
	if err := c.Logs(t.Context(), &out, false); err != nil || out.String() != "one\ntwo\n" {
		t.Errorf("Logs = %q, %v; want both lines", out.String(), err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- c.Logs(ctx, w, true) }()
	lines := bufio.NewScanner(r)
	for i, want := range []string{"one", "two", "three", "four"} {
		if i >= 2 { // sent only when the earlier ones have arrived: nothing may wait in a buffer
			fake.Tail <- want + "\n"
		}
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("line %d = %q; want %q", i, lines.Text(), want)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Logs after cancel = %v; want nil", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("Logs did not end with its context")
	}
}

func TestConsole(t *testing.T) {
	fake := &apitest.Fake{}
	srv := serve(t, fake)
	c := client(srv, api.Operator)
	if _, err := c.Create(t.Context(), spec.VM{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Console(t.Context(), "a"); status(err) != http.StatusConflict || !strings.Contains(err.Error(), "start it first") {
		t.Errorf("Console of a VM that is off = %v; want 409", err)
	}
	if _, err := c.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := client(srv, api.Viewer).Console(t.Context(), "a"); status(err) != http.StatusForbidden {
		t.Errorf("Console as a viewer = %v; want 403", err)
	}
	conn, err := c.Console(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || line != "welcome to a\r\n" {
		t.Errorf("console's first line = %q, %v", line, err)
	}
	if _, err := io.WriteString(conn, "root\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); err != nil || line != "root\n" {
		t.Errorf("console's echo = %q, %v; want root", line, err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A page of another site must not get at a console through a user's browser.
func TestConsoleRefusesForeignOrigin(t *testing.T) {
	fake := &apitest.Fake{}
	srv := serve(t, fake)
	c := client(srv, api.Operator)
	if _, err := c.CreateAndStart(t.Context(), spec.VM{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	_, resp, err := websocket.Dial(t.Context(), srv.URL+"/v1/vms/a/console", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: as{api.Operator}},
		HTTPHeader: http.Header{"Origin": {"https://evil.example"}},
	})
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("WebSocket from a foreign origin: %v, %v; want 403", resp, err)
	}
}
