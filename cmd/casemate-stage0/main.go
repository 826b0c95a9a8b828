// casemate-stage0 is /init of the initramfs: it loads the SELinux policy before
// anything else runs, mounts the labelled root and executes the node's init
// there. It runs as kernel_t, opens no socket, starts no process and keeps
// nothing: what is not needed for these steps belongs into init. When a step
// fails it says why and powers the machine off: there is no unlabelled node.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"casemate/initramfs/boot/cmdline"
	"casemate/initramfs/boot/devlabel"
	"casemate/initramfs/boot/halt"
	"casemate/policy"

	"golang.org/x/sys/unix"
)

// What the initramfs has; see the image builder.
const (
	policyFile = "/policy.33"
	modulesDir = "/modules"
	rootImage  = "/root.erofs"
	rootDir    = "/root"
	initFile   = "/usr/sbin/init" // in the root
)

var pseudo = []mount{
	{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID | unix.MS_NOEXEC},
	// ENOENT here means that SELinux is not the kernel's security module.
	{"selinuxfs", "/sys/fs/selinux", "selinuxfs", unix.MS_NOSUID | unix.MS_NOEXEC},
}

func main() {
	defer halt.OnPanic()
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "casemate-stage0: runs only as the first process of a node")
		os.Exit(2)
	}
	halt.Fatal(run())
}

// run does not return unless a step fails.
func run() error {
	for _, m := range pseudo {
		if err := m.Create(); err != nil {
			return hint(m, err)
		}
	}
	start := time.Now()
	version, digest, err := policy.Load(policyFile)
	if err != nil {
		return err
	}
	took := time.Since(start)
	// The nodes from before the load have a label that nobody may use, not even
	// for the kernel log.
	if err := devlabel.All("/dev"); err != nil {
		return err
	}
	halt.Info("stage0: policy version %d %s loaded in %d ms", version, digest, took.Milliseconds())

	permissive, err := checkEnforcing()
	if err != nil {
		return err
	}
	if err := loadModules(modulesDir); err != nil {
		return err
	}
	if err := devlabel.All("/dev"); err != nil { // loop devices
		return err
	}
	if err := mountRoot(rootImage, rootDir); err != nil {
		return err
	}
	if err := switchRoot(rootDir); err != nil {
		return err
	}
	if err := reopenConsole("/dev/console"); err != nil {
		return err
	}
	env := []string{
		"PATH=/usr/sbin:/usr/bin",
		"CASEMATE_POLICY_VERSION=" + strconv.Itoa(version),
		"CASEMATE_POLICY_DIGEST=" + digest,
	}
	if permissive {
		env = append(env, "CASEMATE_PERMISSIVE=1")
	}
	// The kernel's threads have their root and working directory in common with
	// PID 1, and so came along with chroot. init shall not have: SELinux asks for
	// the permission "share" when a process that shares them changes its domain.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the root directory from the kernel's threads: %w", err)
	}
	err = unix.Exec(initFile, []string{"init"}, env)
	return &os.PathError{Op: "execute", Path: initFile, Err: err}
}

// checkEnforcing refuses a permissive kernel that nobody asked for.
func checkEnforcing() (permissive bool, err error) {
	enforcing, err := policy.Enforcing()
	if err != nil || enforcing {
		return false, err
	}
	params, err := cmdline.Read("/proc/cmdline")
	if err != nil {
		return false, err
	}
	if !params.Bool("casemate.permissive") {
		return false, fmt.Errorf("SELinux is permissive: boot with enforcing=1, or with casemate.permissive=1 if that is what you want")
	}
	return true, nil
}
