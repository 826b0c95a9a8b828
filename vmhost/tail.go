package vmhost

import (
	"bytes"
	"strings"
	"sync"
)

// tail keeps the last lines that a program wrote and hands each on. What the
// program writes is bounded: a guest can make QEMU complain without end.
type tail struct {
	mu    sync.Mutex
	part  []byte   // an unfinished line
	lines []string // the last ones
	total int      // bytes handed on
	each  func(line string)
}

const (
	tailLines   = 20
	tailLine    = 1024    // bytes of a line that are kept
	tailHandOn  = 1 << 20 // bytes of a run that go to the log
	tailSilence = "(the rest of its output is not logged)"
)

func newTail(each func(string)) *tail { return &tail{each: each} }

// Write never fails: a program must not end because nobody listens.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		chunk, rest := p, []byte(nil)
		if i >= 0 {
			chunk, rest = p[:i], p[i+1:]
		}
		t.part = append(t.part, chunk[:min(len(chunk), tailLine-min(len(t.part), tailLine))]...)
		if i >= 0 {
			t.line()
		}
		p = rest
	}
	return n, nil
}

// line ends the unfinished line. With t.mu held.
func (t *tail) line() {
	s := strings.ToValidUTF8(strings.TrimRight(string(t.part), "\r"), "?")
	t.part = t.part[:0]
	if s == "" {
		return
	}
	t.lines = append(t.lines, s)
	if len(t.lines) > tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	before := t.total
	t.total += len(s)
	switch {
	case t.total <= tailHandOn:
		t.each(s)
	case before <= tailHandOn:
		t.each(tailSilence)
	}
}

// Last gives the last few lines as one, for an error.
func (t *tail) Last() string {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := t.lines
	if len(t.part) > 0 {
		lines = append(lines[:len(lines):len(lines)], strings.ToValidUTF8(string(t.part), "?"))
	}
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
