/* SPDX-License-Identifier: MIT */
/*
 * Tracepoints nvirt:*. Without them enabled each is a jump that is not taken.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM nvirt

#if !defined(NVL_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define NVL_TRACE_H

#include <linux/tracepoint.h>
#include <linux/version.h>

/* Since 6.10 the source is the one that __string() named. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
#define NVL_ASSIGN_STR(field) __assign_str(field)
#else
#define NVL_ASSIGN_STR(field) __assign_str(field, field)
#endif

/* Before an entry: the level that runs. */
TRACE_EVENT(nvirt_enter,
	TP_PROTO(u32 vcpu, u32 level),
	TP_ARGS(vcpu, level),
	TP_STRUCT__entry(__field(u32, vcpu) __field(u32, level)),
	TP_fast_assign(__entry->vcpu = vcpu; __entry->level = level;),
	TP_printk("vcpu %u L%u", __entry->vcpu, __entry->level)
);

/* After an exit: whose it is (0: nvirt dealt with it, 1: L1's, 2: L2's, 3: L1 is shut down). */
TRACE_EVENT(nvirt_exit,
	TP_PROTO(u32 vcpu, u32 level, u32 verdict, u64 code, u64 info1, u64 info2),
	TP_ARGS(vcpu, level, verdict, code, info1, info2),
	TP_STRUCT__entry(__field(u32, vcpu) __field(u32, level) __field(u32, verdict)
			 __field(u64, code) __field(u64, info1) __field(u64, info2)),
	TP_fast_assign(__entry->vcpu = vcpu; __entry->level = level; __entry->verdict = verdict;
		       __entry->code = code; __entry->info1 = info1; __entry->info2 = info2;),
	TP_printk("vcpu %u L%u verdict %u code 0x%llx info 0x%llx 0x%llx", __entry->vcpu,
		  __entry->level, __entry->verdict, __entry->code, __entry->info1, __entry->info2)
);

/* A range of L1's memory that the kernel takes away or changes. */
TRACE_EVENT(nvirt_memory_change,
	TP_PROTO(u64 first, u64 last),
	TP_ARGS(first, last),
	TP_STRUCT__entry(__field(u64, first) __field(u64, last)),
	TP_fast_assign(__entry->first = first; __entry->last = last;),
	TP_printk("l1gpa 0x%llx to 0x%llx", __entry->first, __entry->last)
);

/* What nvirt has to say: the rule that failed, the instruction that hardware refused. */
TRACE_EVENT(nvirt_message,
	TP_PROTO(const char *text, u64 value),
	TP_ARGS(text, value),
	TP_STRUCT__entry(__string(text, text) __field(u64, value)),
	TP_fast_assign(NVL_ASSIGN_STR(text); __entry->value = value;),
	TP_printk("%s 0x%llx", __get_str(text), __entry->value)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE nvl_trace
#include <trace/define_trace.h>
