package lab

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

func TestConsoleExpect(t *testing.T) {
	r, w := io.Pipe()
	c := NewConsole("x", r, nil)
	go func() {
		io.WriteString(w, "one\r\n\x1b[1;31mtwo\x1b[0m 2\r\nthree") // no line end at the last
		w.Close()
	}()
	m, err := c.Expect(t.Context(), `^t(wo) (\d)$`)
	if err != nil || m[1] != "wo" || m[2] != "2" {
		t.Errorf("Expect(two) = %q, %v; want groups wo, 2", m, err)
	}
	if _, err := c.Expect(t.Context(), `^three$`); err != nil {
		t.Errorf("Expect(three) = %v; want a match of the unfinished last line", err)
	}
	// one was passed by: what a test expects comes in order.
	if _, err := c.Expect(t.Context(), `^one$`); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("Expect(one) = %v; want the error that the console ended", err)
	}
}

func TestConsoleExpectTimeout(t *testing.T) {
	r, _ := io.Pipe()
	c := NewConsole("x", r, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Expect(ctx, `never`); err == nil || ctx.Err() == nil {
		t.Errorf("Expect(never) = %v; want an error when the context ends", err)
	}
}

func TestHostForward(t *testing.T) {
	// As QEMU 10.0 prints it.
	text := "Hub -1 (n0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  TCP[HOST_FORWARD]  14       127.0.0.1 41593       10.0.2.15  8443     0     0\r\n"
	m := hostForward.FindStringSubmatch(text)
	if m == nil || m[1] != "41593" || m[2] != "8443" {
		t.Errorf("ports of %q = %q; want 41593 and 8443", text, m)
	}
}
