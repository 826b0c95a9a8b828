package policy

import (
	"errors"

	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
)

// FileLabel reads the context that the kernel has for a file; of a symbolic
// link, the link's own.
func FileLabel(path string) (string, error) { return selinux.LfileLabel(path) }

// MountOption gives the option of mount(2) that labels every file of a file
// system. Its value is quoted: a level has a comma, which ends an option. An
// empty context is an error: nothing is mounted without.
func MountOption(context string) (string, error) {
	if context == "" {
		return "", errors.New("no label given: nothing is mounted without")
	}
	return label.FormatMountLabel("", context), nil
}
