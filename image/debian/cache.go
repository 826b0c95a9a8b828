package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// DefaultCache is $CASEMATE_CACHE, or casemate in the user's cache directory,
// or, for users who have none, a directory of their own in the temporary
// directory.
func DefaultCache() (string, error) {
	if dir := os.Getenv("CASEMATE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(dir, "casemate")
		if err := os.MkdirAll(dir, 0o755); err == nil {
			return dir, nil
		}
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("casemate-cache-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make a cache directory: %w: set CASEMATE_CACHE to a directory that you can write to", err)
	}
	// Anybody can make a directory of this name; build only from one's own.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("use the cache directory: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Getuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("use the cache directory %s: it is not a private directory of this user: set CASEMATE_CACHE to one that is", dir)
	}
	return dir, nil
}

// lockFile takes an exclusive lock on the file and waits for it; wait is called
// once if somebody else holds it.
func lockFile(ctx context.Context, name string, wait func()) (release func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if first {
			wait()
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// checkSpace fails with ENOSPC if the file system of dir has less than need
// bytes left for this user.
func checkSpace(dir string, need int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("%w: %d MB are needed in %s, %d MB are free", syscall.ENOSPC, need>>20, dir, free>>20)
	}
	return nil
}

// explainSpace says what to do about a full disk; other errors pass unchanged.
func explainSpace(err error, cache string) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return fmt.Errorf("%w (disk full: make room, or set CASEMATE_CACHE to a directory on another disk; the cache is %s)", err, cache)
}

// FileSHA256 gives the digest of a file in hex.
func FileSHA256(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
