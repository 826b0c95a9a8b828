package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules that the root file system needs, one after the
// other as the file "order" in dir lists them. The builder has resolved their
// dependencies.
func loadModules(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		return err
	}
	names, err := parseOrder(string(b))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := loadModule(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// parseOrder reads one file name per line; none may lead elsewhere.
func parseOrder(s string) ([]string, error) {
	names := strings.Fields(s)
	for _, name := range names {
		if name != filepath.Base(name) || !strings.HasSuffix(name, ".ko") {
			return nil, fmt.Errorf("module order: %q is not a module's file name", name)
		}
	}
	return names, nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	// ENODEV: a soft dependency for a CPU feature that this machine has not,
	// such as crc32c_intel. If it was needed, the next module says so.
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		return &os.PathError{Op: "load module", Path: path, Err: err}
	}
	return nil
}
