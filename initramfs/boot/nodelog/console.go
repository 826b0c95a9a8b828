package nodelog

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// console writes lines to the consoles in a goroutine of its own: a serial line
// of 115200 baud takes 11 kB a second, and nobody may wait for it. Lines that
// find the queue full are dropped and counted; the file has them.
type console struct {
	queue   chan item
	dropped atomic.Int64
}

type item struct {
	line []byte
	done chan struct{} // instead of a line: closed when reached
}

const queueLines = 2048

func newConsole(to []io.Writer) *console {
	c := &console{queue: make(chan item, queueLines)}
	go func() {
		for it := range c.queue {
			if it.done != nil {
				close(it.done)
				continue
			}
			if n := c.dropped.Swap(0); n > 0 {
				it.line = fmt.Appendf(it.line, "init: console: %d lines dropped\n", n)
			}
			for _, w := range to {
				_, _ = w.Write(it.line)
			}
		}
	}()
	return c
}

func (c *console) write(line []byte) {
	select {
	case c.queue <- item{line: line}:
	default:
		c.dropped.Add(1)
	}
}

func (c *console) flush(d time.Duration) {
	done := make(chan struct{})
	timeout := time.After(d)
	select {
	case c.queue <- item{done: done}:
	case <-timeout:
		return
	}
	select {
	case <-done:
	case <-timeout:
	}
}

// lines splits text and makes control characters visible: what a service logs
// may come from a guest, and the console may be a terminal.
func lines(text string) []string {
	text = strings.TrimRight(text, "\n")
	var out []string
	for s := range strings.SplitSeq(text, "\n") {
		out = append(out, printable(strings.TrimRight(s, "\r")))
	}
	return out
}

func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if control(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func control(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 }
