package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"
)

// Who mounts waits as long as init holds the lock, and not without a lock.
func TestAwaitNFS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := awaitNFS(path); err != nil {
		t.Errorf("awaitNFS without a file = %v; want nil", err)
	}
	held, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- awaitNFS(path) }()
	waiting := regexp.MustCompile(fmt.Sprintf(`-> FLOCK +ADVISORY +READ +%d `, os.Getpid())) // proc_locks(5)
	for locks := ""; !waiting.MatchString(locks); {
		select {
		case err := <-done:
			t.Fatalf("awaitNFS = %v while the lock was held; want it to wait", err)
		default:
		}
		b, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		locks = string(b)
	}
	held.Close()
	if err := <-done; err != nil {
		t.Errorf("awaitNFS = %v; want nil", err)
	}
}
