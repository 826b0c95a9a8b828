package lab

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Line is one line of a console.
type Line struct {
	At   time.Duration // since the console was opened
	Text string        // without line end and terminal escapes
}

func (l Line) String() string { return fmt.Sprintf("[%8.3fs] %s", l.At.Seconds(), l.Text) }

// Console keeps every line that a machine prints and wakes those who wait for
// one. It reads until its source ends, whether anybody waits or not.
type Console struct {
	name  string
	start time.Time
	onto  func(Line)

	mu      sync.Mutex
	lines   []Line
	next    int           // first line that Expect has not passed
	changed chan struct{} // closed and replaced with every line
	closed  bool
}

// NewConsole reads lines from r until it ends. Each is given to onLine, in
// order, if that is not nil.
func NewConsole(name string, r io.Reader, onLine func(Line)) *Console {
	c := &Console{name: name, start: time.Now(), onto: onLine, changed: make(chan struct{})}
	go c.read(r)
	return c
}

func (c *Console) read(r io.Reader) {
	// A Scanner would give up at an over-long line; a console must go on.
	var partial []byte
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			if b == '\n' || len(partial) == 64<<10 {
				c.add(string(partial))
				partial = partial[:0]
			}
			if b != '\n' {
				partial = append(partial, b)
			}
		}
		if err != nil {
			if len(partial) > 0 {
				c.add(string(partial))
			}
			c.mu.Lock()
			c.closed = true
			close(c.changed)
			c.mu.Unlock()
			return
		}
	}
}

// escapes are the terminal control sequences that firmware and iPXE print.
var escapes = regexp.MustCompile(`\x1b(\[[0-9;?=]*[A-Za-z]|[()][0-9A-Za-z]|c)|[\x00-\x08\x0b-\x1f]`)

func (c *Console) add(text string) {
	l := Line{time.Since(c.start), strings.TrimRight(escapes.ReplaceAllString(text, ""), " ")}
	if c.onto != nil {
		c.onto(l)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, l)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Expect waits for a line that matches, after the one that the previous Expect
// returned. It gives the matches of the expression's groups, [0] the whole. It
// fails when the console ends first, or the context.
func (c *Console) Expect(ctx context.Context, re string) ([]string, error) {
	exp, err := regexp.Compile(re)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := c.next; ; i++ {
		for i == len(c.lines) {
			if c.closed {
				return nil, fmt.Errorf("console of %s ended without a line that matches %q; its last lines:\n%s", c.name, re, tail(c.lines, 15))
			}
			changed := c.changed
			c.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			c.mu.Lock()
			if ctx.Err() != nil && i == len(c.lines) {
				return nil, fmt.Errorf("console of %s: no line that matches %q in time (%w); its last lines:\n%s", c.name, re, ctx.Err(), tail(c.lines, 15))
			}
		}
		if m := exp.FindStringSubmatch(c.lines[i].Text); m != nil {
			c.next = i + 1
			return m, nil
		}
	}
}

// Lines gives all lines so far.
func (c *Console) Lines() []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Line(nil), c.lines...)
}

// Find gives the lines so far that match.
func (c *Console) Find(re *regexp.Regexp) []Line {
	var found []Line
	for _, l := range c.Lines() {
		if re.MatchString(l.Text) {
			found = append(found, l)
		}
	}
	return found
}

// Elapsed is the time since the console was opened.
func (c *Console) Elapsed() time.Duration { return time.Since(c.start) }

func tail(lines []Line, n int) string {
	var b strings.Builder
	for _, l := range lines[max(0, len(lines)-n):] {
		fmt.Fprintf(&b, "\t%v\n", l)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
