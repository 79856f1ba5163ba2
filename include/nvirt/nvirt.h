/* SPDX-License-Identifier: MIT */
#ifndef NVIRT_NVIRT_H
#define NVIRT_NVIRT_H

#include <nvirt/event.h>
#include <nvirt/port.h>
#include <nvirt/svm.h>
#include <nvirt/tlbflush.h>
#include <nvirt/types.h>
#include <nvirt/vm.h>
#include <nvirt/vmcb.h>
#include <nvirt/vmcs.h>
#include <nvirt/vmx.h>

#endif
