// Package nodelog is the node's log: what init and the services say, line by
// line, to the consoles and to one file that is rotated. It understands nothing
// of what it writes, and there is no level: what is not worth a line is not
// logged.
package nodelog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxLine bounds a line, in bytes; longer ones are broken.
const maxLine = 4096

// maxPending bounds what is kept, in bytes, until there is a file.
const maxPending = 256 << 10

// Log writes lines. Its methods may be called concurrently.
type Log struct {
	console *console

	mu      sync.Mutex
	path    string
	max     int64
	file    *os.File
	size    int64
	pending []byte
}

// New gives a log that writes to the consoles, and keeps lines for the file.
func New(consoles ...io.Writer) *Log { return &Log{console: newConsole(consoles)} }

// Open has the log written to file path too, beginning with what was said
// before. When it would exceed max bytes it becomes path.1, and that is gone.
func (l *Log) Open(path string, max int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.path, l.max = path, max
	if err := l.open(); err != nil {
		return err
	}
	pending := l.pending
	l.pending = nil
	return l.write(pending)
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Line logs text, one or more lines, as said by who.
func (l *Log) Line(who, text string) { l.line(who, text, true) }

// Quiet is Line without the consoles.
func (l *Log) Quiet(who, text string) { l.line(who, text, false) }

// Printf is Line with a format.
func (l *Log) Printf(who, format string, args ...any) { l.Line(who, fmt.Sprintf(format, args...)) }

func (l *Log) line(who, text string, consoles bool) {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	for _, s := range lines(text) {
		if consoles {
			l.console.write([]byte(who + ": " + s + "\n"))
		}
		l.mu.Lock()
		// The console has the line; a full /run must not stop the node.
		_ = l.write([]byte(now + " " + who + ": " + s + "\n"))
		l.mu.Unlock()
	}
}

func (l *Log) write(b []byte) error {
	if l.path == "" {
		if len(l.pending)+len(b) <= maxPending {
			l.pending = append(l.pending, b...)
		}
		return nil
	}
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if l.file == nil {
		return os.ErrClosed
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return err
}

func (l *Log) rotate() error {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return l.open()
}

// Copy logs what r has, line by line, until it ends.
func (l *Log) Copy(who string, r io.Reader) {
	br := bufio.NewReaderSize(r, maxLine)
	for {
		b, err := br.ReadSlice('\n')
		if len(b) > 0 {
			l.Line(who, string(b))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// Flush waits until the consoles have what was logged, at most for d: a serial
// line may be held by its other end.
func (l *Log) Flush(d time.Duration) { l.console.flush(d) }

// Close ends the file; what is logged from now on goes to the consoles only.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	l.max = 1<<63 - 1 // no rotation would open it again
}
