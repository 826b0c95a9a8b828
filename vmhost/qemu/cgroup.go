package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Limit is one control file of a cgroup (v2) and its value.
type Limit struct{ File, Value string }

// Overhead of QEMU beside the guest's RAM, in bytes.
const (
	overheadFixed = 256 << 20                 // program, device state, I/O buffers
	overheadTCG   = tcgCacheMiB<<20 + 256<<20 // translated code and what belongs to it
	threadsFixed  = 256                       // workers of disk I/O (64 a pool), main loop
)

// Limits gives the cgroup limits of a VM with this much RAM (bytes) and as many
// virtual CPUs:
//
//	memory.max = RAM + RAM/20 + 256 MiB (+ 512 MiB with TCG)
//	cpu.max    = 100 % of a CPU for each virtual one
//	pids.max   = 256 + virtual CPUs
//
// A twentieth of the RAM is for what grows with it, page tables and bitmaps.
func Limits(memory uint64, cpus int, tcg bool) []Limit {
	limit := memory + memory/20 + overheadFixed
	if tcg {
		limit += overheadTCG
	}
	return []Limit{
		{"memory.max", strconv.FormatUint(limit, 10)},
		{"cpu.max", strconv.Itoa(cpus*100_000) + " 100000"},
		{"pids.max", strconv.Itoa(threadsFixed + cpus)},
	}
}

// ImgLimits are qemu-img's.
func ImgLimits() []Limit {
	return []Limit{{"memory.max", strconv.Itoa(512 << 20)}, {"cpu.max", "100000 100000"}, {"pids.max", "128"}}
}

// Cgroups is a cgroup v2 directory under which each VM gets its own.
type Cgroups string

// Prepare makes the directory and hands the controllers on to those below.
func (c Cgroups) Prepare() error {
	if err := os.Mkdir(string(c), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return write(filepath.Join(string(c), "cgroup.subtree_control"), "+cpu +memory +pids")
}

// Create makes the cgroup name with its limits and opens it. A limit that can
// not be set is an error and leaves nothing behind.
func (c Cgroups) Create(name string, limits []Limit) (*os.File, error) {
	dir := filepath.Join(string(c), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	for _, l := range limits {
		if err := write(filepath.Join(dir, l.File), l.Value); err != nil {
			return nil, errors.Join(fmt.Errorf("set limit: %w", err), os.Remove(dir))
		}
	}
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return f, nil
}

// List gives the names of the cgroups.
func (c Cgroups) List() ([]string, error) {
	entries, err := os.ReadDir(string(c))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Remove kills whatever is still in the cgroup and removes it. One that is not
// there is no error.
func (c Cgroups) Remove(ctx context.Context, name string) error {
	dir := filepath.Join(string(c), name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := write(filepath.Join(dir, "cgroup.kill"), "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for {
		err := os.Remove(dir)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		// A killed process leaves its cgroup a moment later.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// write writes to a control file; it must be there already.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
