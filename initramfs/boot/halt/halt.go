// Package halt ends the machine: orderly, or because going on would mean a node
// that is not what it claims to be. stage0 and init share it, so it opens
// nothing but the kernel log.
package halt

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// PowerOff powers the machine off at once. It does not return.
func PowerOff() { reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }

// Reboot restarts the machine at once. It does not return.
func Reboot() { reboot(unix.LINUX_REBOOT_CMD_RESTART) }

func reboot(cmd int) {
	if os.Getpid() != 1 { // a test on somebody's machine
		panic("halt: only the first process ends the machine")
	}
	unix.Sync()
	err := unix.Reboot(cmd)
	Say("casemate: reboot(%#x): %v", cmd, err)
	select {} // PID 1 must not exit; the operator has to pull the plug
}

// auditDelay lets the kernel's audit thread print the denial that may be the
// cause; it lags behind the system call.
const auditDelay = 300 * time.Millisecond

// Fatal prints why the node cannot go on and powers it off.
func Fatal(err error) {
	Say("casemate: FATAL: %v", err)
	time.Sleep(auditDelay)
	Say("casemate: powering off")
	PowerOff()
}

// OnPanic, deferred in each goroutine, turns a panic into Fatal: a dead PID 1
// would be a kernel panic, which does not say why.
func OnPanic() {
	if os.Getpid() != 1 {
		return // a test: let it panic
	}
	if v := recover(); v != nil {
		Fatal(fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
	}
}

// Levels of the kernel log (linux/kern_levels.h).
const (
	critical = "<2>" // shown even with "quiet"
	info     = "<6>"
	trace    = "<7>" // kept, not shown
)

// Say prints a line on every console by way of the kernel log. That is
// synchronous: when Say returns, the line is out, even on a serial line.
func Say(format string, args ...any) { kmsg(critical, fmt.Sprintf(format, args...)) }

// Info is Say for what a quiet boot need not show.
func Info(format string, args ...any) { kmsg(info, fmt.Sprintf(format, args...)) }

// Record puts a line into the kernel log and not on the console.
func Record(format string, args ...any) { kmsg(trace, fmt.Sprintf(format, args...)) }

func kmsg(level, text string) {
	const maxLine = 900 // printk takes a little under 1024
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		f, level = os.Stderr, ""
	} else {
		defer f.Close()
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if len(line) > maxLine {
			line = line[:maxLine]
		}
		fmt.Fprintf(f, "%s%s\n", level, line)
	}
}
