package vmhost

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// logPoll is how often a followed log is looked at.
const logPoll = 250 * time.Millisecond

// Logs copies the node's log to w, the rotated part first, and with follow what
// is added until ctx ends.
func (m *Manager) Logs(ctx context.Context, w io.Writer, follow bool) error {
	if old, err := os.Open(m.paths.Log + ".1"); err == nil {
		_, err = io.Copy(w, old)
		old.Close()
		if err != nil {
			return err
		}
	}
	f, err := os.Open(m.paths.Log)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	for {
		// Whether it was rotated is asked before reading: what is written
		// between would otherwise be skipped.
		next, err := rotated(f, m.paths.Log)
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		if next != nil {
			f.Close()
			f = next
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(logPoll):
		}
	}
}

// rotated opens what path is by now, if that is another file than f.
func rotated(f *os.File, path string) (*os.File, error) {
	next, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // between the rename and the new file
	}
	if err != nil {
		return nil, err
	}
	a, errA := f.Stat()
	b, errB := next.Stat()
	if err := errors.Join(errA, errB); err != nil || os.SameFile(a, b) {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}
