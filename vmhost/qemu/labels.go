package qemu

import (
	"fmt"

	"casemate/policy"
)

// labels is what vmexec needs of SELinux. The one other implementation is in
// this package's tests, which run where there is no SELinux.
type labels interface {
	// mountOption gives the option that labels a whole file system.
	mountOption(context string) (string, error)
	// setExec has the calling thread's next execve run under label.
	setExec(label string) error
}

type selinux struct{}

func (selinux) mountOption(context string) (string, error) { return policy.MountOption(context) }

func (selinux) setExec(label string) error {
	if label == "" {
		return fmt.Errorf("no label given: nothing is executed without")
	}
	return policy.SetThread("exec", label)
}
