package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// selinuxfs is where stage0 and the node have the kernel's SELinux interface.
const selinuxfs = "/sys/fs/selinux"

// A binary policy starts with a magic number, the length of a string, that
// string and the policy's version; all numbers are little-endian 32 bits
// (linux/security/selinux/ss/policydb.h).
const (
	policyMagic  = 0xf97cff8c
	policyString = "SE Linux"
)

// Load gives the binary policy in file path to the kernel. It returns the
// policy's version (33) and digest, "sha256:" and hex of the file. Only stage0
// can: afterwards no domain may load another.
func Load(path string) (version int, digest string, err error) {
	return load(path, selinuxfs)
}

func load(path, selinuxfs string) (int, string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, "", err
	}
	version, err := headerVersion(b)
	if err != nil {
		return 0, "", fmt.Errorf("policy %s: %w", path, err)
	}
	sum := sha256.Sum256(b)
	digest := "sha256:" + hex.EncodeToString(sum[:])

	// The kernel wants the whole policy in one write(2); os.File.Write would
	// go on after a short one.
	target := selinuxfs + "/load"
	fd, err := unix.Open(target, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, "", &os.PathError{Op: "open", Path: target, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Write(fd, b)
	if err != nil {
		return 0, "", fmt.Errorf("load policy %s into %s: %w", path, target, err)
	}
	if n != len(b) {
		return 0, "", fmt.Errorf("load policy %s into %s: kernel took %d of %d bytes", path, target, n, len(b))
	}
	return version, digest, nil
}

// headerVersion reads the version from a binary policy's header.
func headerVersion(b []byte) (int, error) {
	const header = 4 + 4 + len(policyString) + 4
	if len(b) < header || binary.LittleEndian.Uint32(b) != policyMagic ||
		binary.LittleEndian.Uint32(b[4:]) != uint32(len(policyString)) ||
		!bytes.Equal(b[8:8+len(policyString)], []byte(policyString)) {
		return 0, fmt.Errorf("not a binary SELinux policy (%d bytes)", len(b))
	}
	return int(binary.LittleEndian.Uint32(b[8+len(policyString):])), nil
}

// Enforcing says whether the kernel enforces the policy. It fails when SELinux
// is not the kernel's active security module.
func Enforcing() (bool, error) { return enforcing(selinuxfs) }

func enforcing(selinuxfs string) (bool, error) {
	b, err := os.ReadFile(selinuxfs + "/enforce")
	if err != nil {
		return false, err
	}
	switch string(bytes.TrimSpace(b)) {
	case "1":
		return true, nil
	case "0":
		return false, nil
	}
	return false, fmt.Errorf("read %s/enforce: got %q, want 0 or 1", selinuxfs, b)
}
