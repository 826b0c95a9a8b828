// Command guest is the init, and the only program, of the virtual machine that
// the tests and the demo run: "a guest that others built". It stands for a
// tenant's system and knows nothing of casemate. It loads the modules that came
// with it, says that it is ready, and then does what its serial console says,
// one command a line (see commands.go). The ACPI power button powers it off.
//
// Every line it prints starts with "guest NAME ", so that an expecting program
// cannot take the echo of a command for its answer. NAME is guest.name= of the
// kernel command line.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var name = "?"

// say prints one line to the console, which is standard output.
func say(format string, args ...any) {
	fmt.Printf("guest %s %s\n", name, fmt.Sprintf(format, args...))
}

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: is the init of a virtual machine, not a program for hosts")
		os.Exit(2)
	}
	if err := setup(); err != nil {
		say("error: %v", err) // and go on: the console may still help
	}
	fmt.Println() // the firmware may have left a line half full
	say("ready cpu=%q kvm=%v", cpuModel(), underKVM())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if line := strings.TrimSpace(in.Text()); line != "" {
			run(line)
		}
	}
	// The console is gone; the power button still works.
	select {}
}

// powerOff does not return.
func powerOff() {
	say("powering off")
	unix.Sync()
	// The UART empties its FIFO at its own pace; reboot(2) would cut the line short.
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	say("error: power off: %v", err)
	select {}
}
